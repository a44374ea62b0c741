"""Reads pickles of plain data without running anything that they ask for.

Python's own unpickler calls whatever a pickle names. This one knows the few opcodes of which state
dicts are made, and hands every global to functions that build plain data or refuse it.
"""

import io
import pickletools
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class PickleError(Exception):
    """Raised when a pickle is damaged or has what no state dict has; a clause says which."""


class UnknownGlobalError(PickleError):
    """Raised when a pickle names a global that isn't known; its argument is the global's name."""


class Global(NamedTuple):
    """A global that a pickle names, such as torch._utils._rebuild_tensor_v2. It isn't imported."""

    name: str


class Meaning(NamedTuple):
    """What a pickle's globals and persistent ids stand for.

    Attributes:
      known: The names of the globals that a pickle may use.
      call: Returns what a global of this name makes of its arguments.
      persistent: Returns what a persistent id stands for.
    """

    known: Collection[str]
    call: Callable[[str, tuple], Any]
    persistent: Callable[[Any], Any]


def load(file: io.BytesIO, meaning: Meaning) -> Any:
    """Reads the pickle that begins at the file's position, and moves the position to its end.

    Protocol 0, which is text, is refused. Byte strings of Python 2 are read as latin-1. The state
    of a dict, such as the _metadata of a state dict, is left out.

    Args:
      file: The bytes of one or more pickles.
      meaning: What the pickle's globals and persistent ids stand for.

    Returns:
      Dicts, lists, tuples, strings, numbers and what the functions of `meaning` return.

    Raises:
      UnknownGlobalError: The pickle names a global that isn't known.
      PickleError: The pickle can't be read.
    """
    start = file.tell()
    machine = _Machine(meaning)
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            for opcode, argument in _opcodes(file):  # pickletools warns of odd backslashes.
                machine.execute(opcode, argument)
        return machine.stack.pop()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PickleError(f"its pickle at byte {start:,} makes no sense") from error


def _opcodes(file: io.BytesIO) -> Iterator[tuple[str, Any]]:
    start = file.tell()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            yield opcode.name, argument
    except ValueError as error:
        raise PickleError(f"its pickle at byte {start:,} is incomplete or garbled") from error


class _Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(self, meaning: Meaning) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # The stacks under the marks.
        self._memo: dict[int, Any] = {}
        self._meaning = meaning

    def execute(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _METHODS:
            _METHODS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise PickleError(f"its pickle has the opcode {opcode}, which no state dict has")

    def mark(self, _: None) -> None:
        self._below.append(self.stack)
        self.stack = []

    def _to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def put(self, index: int) -> None:
        self._memo[index] = self.stack[-1]

    def memoize(self, _: None) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    def tuple_of_marked(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def tuple1(self, _: None) -> None:
        self.stack.append((self.stack.pop(),))

    def tuple2(self, _: None) -> None:
        second = self.stack.pop()
        self.stack.append((self.stack.pop(), second))

    def tuple3(self, _: None) -> None:
        third = self.stack.pop()
        self.tuple2(None)
        self.stack.append((*self.stack.pop(), third))

    def empty_list(self, _: None) -> None:
        self.stack.append([])

    def append(self, _: None) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def appends(self, _: None) -> None:
        items = self._to_mark()
        self._top(list).extend(items)

    def empty_dict(self, _: None) -> None:
        self.stack.append({})

    def setitem(self, _: None) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set([key, value])

    def setitems(self, _: None) -> None:
        self._set(self._to_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in pairs(items):
            target[key] = value

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"{kind} expected")
        return self.stack[-1]

    def named_global(self, name: str) -> None:
        self._push_global(*name.split(" ", 1))

    def stack_global(self, _: None) -> None:
        name = self.stack.pop()
        self._push_global(self.stack.pop(), name)

    def _push_global(self, module: str, name: str) -> None:
        full = ".".join((module, name))
        if full not in self._meaning.known:
            raise UnknownGlobalError(full)
        self.stack.append(Global(full))

    def call(self, _: None) -> None:
        arguments = self.stack.pop()
        called = self.stack.pop()
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            raise TypeError("Only a global is called.")
        self.stack.append(self._meaning.call(called.name, arguments))

    def build(self, _: None) -> None:
        self.stack.pop()
        self._top(dict)

    def persistent(self, _: None) -> None:
        self.stack.append(self._meaning.persistent(self.stack.pop()))


def pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yields keys and values from a list in which they alternate.

    Raises:
      PickleError: A key isn't a string, a number or None, or the last value is missing.
    """
    if len(items) % 2:
        raise PickleError("its pickle has a dict with a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | None):  # Tuples may take forever to hash.
            raise PickleError(f"its pickle has a dict with a key that is a {type(key).__name__}")
        yield key, value


_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": _Machine.tuple1,
    "TUPLE2": _Machine.tuple2,
    "TUPLE3": _Machine.tuple3,
    "EMPTY_LIST": _Machine.empty_list,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "EMPTY_DICT": _Machine.empty_dict,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "GLOBAL": _Machine.named_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
