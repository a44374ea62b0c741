"""Lists the keys of a config, also with their comments, from the source of `base_config`."""

import inspect
import re
import textwrap
from collections.abc import Iterator

from ml_collections import ConfigDict

from vgg_jax import base_config

_KEY = re.compile(r"    c\.([\w.]+) = (.+?)(?:  # (.+))?")
_COMMENT = re.compile(r"    # (.+)")
_HEADING = re.compile(r'    """Sets (.+)"""')


def listed() -> str:
    """Returns all keys as text: the flag that sets each, with its default, and what it means."""
    return "\n".join(_lines())


def names(c: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Yields the full names of the keys, such as data.dir, and of their sections."""
    for key, value in c.items():
        yield prefix + key
        if isinstance(value, ConfigDict):
            yield from names(value, f"{prefix}{key}.")


def _lines() -> Iterator[str]:
    above: list[str] = []
    for line in inspect.getsource(base_config).splitlines():
        if found := _HEADING.fullmatch(line):
            yield f"\n{found[1][0].upper()}{found[1][1:]}"
        elif found := _COMMENT.fullmatch(line):
            above.append(found[1])
            continue
        elif (found := _KEY.fullmatch(line)) and found[2] != "ConfigDict()":
            yield f"  --config.{found[1]}={_as_flag(found[2])}"
            text = " ".join(filter(None, [*above, found[3]]))
            yield textwrap.fill(text, 88, initial_indent=" " * 6, subsequent_indent=" " * 6)
        above = []


def _as_flag(value: str) -> str:
    if value.startswith('f"'):  # The cache's folder, which depends on the environment.
        return base_config.get_config().data.cache_dir
    return value if value == "()" else re.sub(r'["() ]', "", value).rstrip(",")
