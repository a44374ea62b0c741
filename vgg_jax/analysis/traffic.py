"""What devices exchange, read from the text of a compiled program (HLO). Needs no device."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

Kind = Literal["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"]
Groups = tuple[tuple[int, ...], ...]

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_COLLECTIVE = re.compile(rf"({'|'.join(get_args(Kind))})(?:-start)?")
_ARRAY = re.compile(r"\b(pred|token|opaque|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.-]+) \(.*\{$")
_CALLED = re.compile(
    r"\b(?:body|condition|calls|to_apply|branch_computations)=(\{[^}]*\}|%[\w.-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One array that devices exchange.

    Attributes:
      kind: The operation. If the program starts and ends it by two instructions, this is the name
        without "-start".
      op_name: JAX's name of the operation that the array comes from; "" if the program has none.
      shape: The array's shape on one device, as HLO writes it, for example "f32[64,3]".
      num_bytes: Size of the whole array that a group of devices sums, gathers, scatters or
        permutes.
      times: How often it is exchanged in one run of the program: more than once in a loop.
      groups: The groups of devices that exchange it with one another.
    """

    kind: Kind
    op_name: str
    shape: str
    num_bytes: int
    times: int
    groups: Groups

    @property
    def sent_bytes(self) -> float:
        """The bytes that each device sends per exchange if its group is a ring.

        Among n devices this is (n - 1) / n of the array, twice that for an all-reduce, and the
        whole array for a collective-permute.
        """
        n = max(map(len, self.groups))
        if self.kind == "collective-permute":
            return float(self.num_bytes)
        return (2 if self.kind == "all-reduce" else 1) * (n - 1) / n * self.num_bytes


def collectives(hlo_text: str) -> list[Collective]:
    """Lists what the devices exchange in one run of a compiled program.

    Compilers join many operations into one on several arrays, which is listed array by array. An
    all-to-all is listed as one, because its arrays are the pieces of one. Exchanges within single
    devices are left out.

    Args:
      hlo_text: `compiled.as_text()`.

    Raises:
      ValueError: It isn't known how often an exchange runs, or the text has an unknown form.
    """
    computations = _computations(hlo_text)
    times = _times(computations)
    num_devices = _num_devices(hlo_text)
    found = []
    for name, instructions in computations.items():
        shapes = {instruction.name: instruction.shape for instruction in instructions}
        for instruction in instructions:
            match = _COLLECTIVE.fullmatch(instruction.kind)
            if match is None:
                continue
            if times[name] is None:
                raise ValueError(f"{instruction.name} is in a loop of unknown length.")
            operands = [shapes[operand] for operand in instruction.operands]
            groups = _groups(instruction.rest, num_devices)
            if max(map(len, groups)) > 1 and times[name]:
                found += _arrays(match[1], operands, instruction.rest, times[name], groups)
    return found


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    kind: str
    rest: str  # Operands and attributes.

    @property
    def operands(self) -> list[str]:
        return re.findall(r"%([\w.-]+)", self.rest[: self.rest.index(")")])


def _arrays(
    kind: Kind, operands: Sequence[str], attributes: str, times: int, groups: Groups
) -> Iterator[Collective]:
    group = max(map(len, groups)) if kind == "all-gather" else 1
    names = _op_names(attributes)
    if kind == "all-to-all":
        operands = [", ".join(operands)]
    if len(names) != len(operands):
        names = [""] * len(operands) if len(names) > 1 else names * len(operands)
    for shape, op_name in zip(operands, names, strict=True):
        shape = re.sub(r"\{[^}]*\}", "", shape).strip()  # Without the layout.
        yield Collective(kind, op_name, shape, group * _num_bytes(shape), times, groups)


def _op_names(attributes: str) -> list[str]:
    """Splits the names that a compiler joined with its operations: "step/(a/mul:b/add)"."""
    match = re.search(r'op_name="([^"]*)"', attributes)
    name = match[1] if match else ""
    joined = re.fullmatch(r"(|.*?/)\((.*)\)", name)
    return [joined[1] + part for part in joined[2].split(":")] if joined else [name]


def _num_bytes(shape: str) -> int:
    total = 0
    for name, bits, sizes in _ARRAY.findall(shape):
        values = math.prod(int(size) for size in sizes.split(",") if size)
        total += values * (1 if name == "pred" else math.ceil(int(bits or 0) / 8))
    return total


def _computations(text: str) -> dict[str, list[_Instruction]]:
    result: dict[str, list[_Instruction]] = {}
    for line in text.splitlines():
        # Remove the comments, which number the arrays of long tuples.
        line = re.sub(r"/\*.*?\*/", "", line)
        if (header := _COMPUTATION.match(line)) is not None:
            result[header[1]] = current = []
        elif (match := _INSTRUCTION.match(line)) is not None:
            current.append(_Instruction(match[1], match[2], match[3], match[4]))
    return result


def _times(computations: Mapping[str, Sequence[_Instruction]]) -> dict[str, int | None]:
    """Counts the runs of each computation; None if a loop doesn't say its number of runs."""
    callers: dict[str, list[tuple[str, int | None]]] = {name: [] for name in computations}
    for name, instructions in computations.items():
        for instruction in instructions:
            trips = 1
            if instruction.kind == "while":
                match = _TRIPS.search(instruction.rest)
                trips = int(match[1]) if match else None
            for called in _CALLED.findall(instruction.rest):
                for callee in re.findall(r"%([\w.-]+)", called):
                    callers[callee].append((name, trips))
    times: dict[str, int | None] = {}

    def count(name: str) -> int | None:
        if name not in times:
            terms = [(count(caller), trips) for caller, trips in callers[name]]
            unknown = any(None in term for term in terms)
            # A computation that nothing calls is the entry.
            times[name] = None if unknown else sum(map(math.prod, terms)) if terms else 1
        return times[name]

    for name in computations:
        count(name)
    return times


def _num_devices(text: str) -> int:
    header = text.partition("\n")[0]
    counts = re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", header)
    return math.prod(map(int, counts))


def _groups(attributes: str, num_devices: int) -> Groups:
    """Reads the groups of devices, which are listed or are parts of an array of all devices."""
    if (match := re.search(r"source_target_pairs=\{(.*?)\}\}", attributes)) is not None:
        return _listed(match[1])
    if re.search(r"replica_groups=\{\}", attributes):
        return (tuple(range(num_devices)),)
    if (match := re.search(r"replica_groups=\{(\{.*?\})\}", attributes)) is not None:
        return _listed(match[1])
    array = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
    # [4,2]<=[2,4]T(1,0): the groups are the rows of an array of all devices.
    if (match := re.search(rf"replica_groups=\[([\d,]+)\]<={array}", attributes)) is not None:
        return _rows(_devices(match[2], match[3]).reshape(_numbers(match[1])))
    # mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}: the devices of a group differ only in b.
    match = re.search(
        rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({array}\))? \{{([^}}:]*)\}}", attributes
    )
    if match is None:
        raise ValueError(f"The devices of an exchange are given in an unknown form: {attributes}")
    axes = dict(re.findall(r"'([^']+)'=(\d+)", match[1]))
    sizes = [int(size) for size in axes.values()]
    devices = _devices(match[2], match[3]) if match[2] else np.arange(math.prod(sizes))
    along = [list(axes).index(name) for name in re.findall(r"'([^']+)'", match[4])]
    others = [axis for axis in range(len(sizes)) if axis not in along]
    width = math.prod(sizes[axis] for axis in along)
    return _rows(devices.reshape(sizes).transpose(others + along).reshape(-1, width))


def _devices(sizes: str, order: str | None) -> np.ndarray:
    devices = np.arange(math.prod(_numbers(sizes))).reshape(_numbers(sizes))
    return devices.transpose(_numbers(order)) if order else devices


def _listed(text: str) -> Groups:
    return tuple(map(_numbers, re.findall(r"\{([\d,]+)", text)))


def _rows(array: np.ndarray) -> Groups:
    return tuple(tuple(row) for row in array.tolist())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))
