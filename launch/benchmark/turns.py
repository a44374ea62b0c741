"""Runs the sides of a comparison in turns, each time in a new process."""

import contextlib
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vgg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
      name: Its name in the table, for example PyTorch.
      module: Its module in `launch.benchmark.sides`.
      settings: The keyword arguments of that module's `measure`, as JSON values.
      environment: Variables that its process has beside those of this one.
    """

    name: str
    module: str
    settings: dict[str, Any]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


# With these, glibc keeps large blocks that are freed, instead of returning them to the system. On
# two cores, PyTorch's step of D then took 1.95 s instead of 2.3 s, and its dense evaluation of 8
# images 2.5 s instead of 3.7 s. They don't help this code: glibc maps large blocks for all threads
# but the first, whatever these are.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": f"{2**32}",
    "MALLOC_TRIM_THRESHOLD_": f"{2**40}",
    "MALLOC_TOP_PAD_": f"{2**26}",
}


def with_memory_kept(side: Side) -> Side:
    """Returns a side whose process keeps the memory that it frees, which is faster on CPUs."""
    name = f"{side.name}, freed memory kept"
    return dataclasses.replace(side, name=name, environment=_KEEP_MEMORY)


Results = dict[str, list[dict[str, Any]]]

# What is said instead of seconds that are below 0: the start of a scan, which is subtracted, varied
# by more than the few images took.
TOO_FEW = "too few images"


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Keeps compiled programs while it is open, so that only the first round compiles them.

    Without this, the peak of the memory would be that of XLA's trials of algorithms for GPUs, which
    take 12 GB where the step of D then takes 7 GB.
    """
    with tempfile.TemporaryDirectory(prefix="compiled") as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        yield


def in_turns(
    sides: Sequence[Side],
    rounds: int,
    limit_s: float,
    before: Mapping[str, Any] | None = None,
    per: str = "",
) -> Results:
    """Measures every side once per round, one after the other.

    Args:
      sides: The sides, with different names.
      rounds: How many times each side is measured.
      limit_s: The most seconds of one process.
      before: Results of some sides' first rounds, which aren't measured again.
      per: What the seconds that it prints are of, for example " per image".

    Returns:
      Each side's results by its name, one per round.

    Raises:
      UserError: A side failed or took longer than the limit.
    """
    results: Results = {side.name: list((before or {}).get(side.name, ())) for side in sides}
    for number in range(1, rounds + 1):
        for side in sides:
            if len(results[side.name]) < number:
                print(f"Round {number} of {rounds}: {side.name}", file=sys.stderr, flush=True)
                results[side.name].append(once(side, limit_s))
                # If a later side is stopped, this much is known. Layers have many times instead.
                seconds = results[side.name][-1].get("seconds")
                if seconds:
                    median = statistics.median(seconds)
                    told = f"{median:.4g} s{per}" if median > 0 else TOO_FEW
                    print(f"  {told}", file=sys.stderr, flush=True)
    return results


def once(side: Side, limit_s: float) -> dict[str, Any]:
    """Measures a side in a new process, and returns its result.

    Raises:
      UserError: It failed or took longer than the limit.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", f"launch.benchmark.sides.{side.module}"]
    environment = os.environ | side.environment
    with process(command, text=True, env=environment, **pipes) as started:
        try:
            output, errors = started.communicate(json.dumps(side.settings), timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"{side.name} took longer than --limit_s={limit_s:g}. Raise it, or measure less."
            ) from error
    if started.returncode:
        last = "\n".join(errors.rstrip().splitlines()[-20:])
        raise UserError(
            f"{side.name} failed with status {started.returncode}. Its last lines:\n{last}"
        )
    result = json.loads(output.splitlines()[-1])
    if "error" in result:
        raise UserError(result["error"])
    return result


@contextlib.contextmanager
def process(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Starts a process, and kills it and all that it has started in the end."""
    # A session of its own makes a group, to which the workers of torch.compile belong too.
    with subprocess.Popen(command, start_new_session=True, **options) as started:
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
