"""The ends of a side's process: JSON settings in, and a JSON object on the last line of stdout."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from vgg_jax.errors import UserError


def run(measure: Callable[..., dict[str, Any]], *, without: tuple[str, ...]) -> None:
    """Calls measure(**settings) with the settings on stdin, and prints its result.

    In place of a result it prints {"error": MESSAGE} after a UserError.

    Args:
      measure: Measures one side.
      without: The packages of the other side, which would take memory and threads here.

    Raises:
      RuntimeError: One of these packages was imported.
    """
    try:
        result = measure(**json.load(sys.stdin))
    except UserError as error:
        result = {"error": str(error)}
    found = [name for name in without if name in sys.modules]
    if found:
        raise RuntimeError(f"This side has imported {', '.join(found)} of the other one.")
    print(json.dumps(result), flush=True)


def timed(
    step: Callable[[], object], *, warm_up: int, at_least: int, at_least_s: float
) -> tuple[float, list[float]]:
    """Times calls after some that aren't measured.

    Args:
      step: Works, and returns only when the device has finished.
      warm_up: Calls that come first, in which programs are compiled.
      at_least: The fewest timed calls.
      at_least_s: The fewest seconds of all timed calls together.

    Returns:
      The seconds of the warm-up, and those of each timed call.
    """
    begin_s = time.perf_counter()
    for _ in range(warm_up):
        step()
    warm_up_s = time.perf_counter() - begin_s
    seconds: list[float] = []
    while len(seconds) < at_least or sum(seconds) < at_least_s:
        begin_s = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin_s)
    return warm_up_s, seconds
