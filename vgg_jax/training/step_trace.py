"""A trace of a few training steps, which TensorBoard and Perfetto open."""

import os
from collections.abc import Callable
from typing import Any

import jax

from vgg_jax.storage.files import Path

FOLDER = "profile"  # The folder in the workdir.
FIRST, COUNT = 5, 10  # The first step compiles, and the next ones fill the queues.


class StepTrace:
    """Traces `COUNT` steps of a run, from its `FIRST` one since this start on."""

    def __init__(self, workdir: Path, note: Callable[[str], None]) -> None:
        """Prepares a trace.

        Args:
          workdir: The run's workdir. The trace is written to its `FOLDER`.
          note: Prints a line.
        """
        self._folder, self._note = workdir / FOLDER, note
        self._calls, self._is_on = 0, False

    def of(self, train_step: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a step that does the same and is traced."""

        def step(*args: Any) -> Any:
            if self._calls == FIRST:
                jax.profiler.start_trace(os.fspath(self._folder), create_perfetto_trace=True)
                self._is_on = True
            result = train_step(*args)
            self._calls += 1
            if self._calls == FIRST + COUNT:
                # The devices may be several steps behind.
                jax.block_until_ready(result)
                self.close()
            return result

        return step

    def close(self) -> None:
        """Writes the trace, if it isn't written yet, and says where it is."""
        if self._is_on:
            jax.profiler.stop_trace()
            self._is_on = False
            self._note(
                f"A trace of {self._calls - FIRST} steps is in {self._folder}. Open its "
                "perfetto_trace.json.gz at https://ui.perfetto.dev, or the folder with "
                f"tensorboard --logdir={self._folder} (and the package xprof)."
            )
        elif self._calls <= FIRST:
            self._note(
                f"Nothing was traced: training ended within its first {FIRST} steps, which are "
                "left out."
            )
