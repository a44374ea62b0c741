"""The reports of a run while it trains: JSON lines, TensorBoard events and a progress bar."""

import contextlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from vgg_jax.storage import files, gcs, growing_files
from vgg_jax.storage.files import Path
from vgg_jax.system import progress_bar
from vgg_jax.training import events, metrics_file


class MetricsLog:
    """The log of a run: workdir/metrics.jsonl, TensorBoard events and a progress bar.

    When a run is resumed, the records that it wrote after the step of its checkpoint are removed.

    Attributes:
      folder: The folder that holds metrics.jsonl up to the last record: the workdir, or a temporary
        folder if the workdir is in a bucket. None on processes that don't write.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        total_steps: int,
        write: bool,
        with_top5: bool = True,
        validation_due: bool = False,
        mark: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens the log.

        Args:
          workdir: The run's workdir.
          start_step: The steps that are already done; later records are removed.
          total_steps: The length of the progress bar, in steps.
          write: Whether this process is the one that writes.
          with_top5: Whether to print the top-5 error of validations.
          validation_due: Whether the validation after start_step comes next. If it is already
            logged, this record is removed too.
          mark: The `mark` of the log when the checkpoint was saved; later records are removed. None
            for a new run, or if an earlier version saved the checkpoint.

        Raises:
          UserError: The file lacks records that were written before the checkpoint, or is damaged.
        """
        self._write, self._with_top5, self._is_first_step = write, with_top5, True
        self.folder: pathlib.Path | None = None
        if write:
            self._written = (
                _kept(workdir, start_step, validation_due)
                if mark is None
                else metrics_file.marked(metrics_file.lines(workdir), mark, workdir)
            )
            self._mirror = growing_files.Mirror(workdir)
            self.folder = self._mirror.here
            self._open_file()
            self._events = events.Events(self.folder / "tensorboard", start_step)
        # The bar comes last: an error above must not be printed behind it.
        self._bar = progress_bar.bar(
            total_steps, "steps", "training", done=start_step, disable=not write
        )
        self._bar.say("compiling the first step")

    def compiled(self, seconds: int | float) -> None:
        """Shows how long it took to compile the step, whose first result isn't there yet."""
        self._bar.say(f"compiled in {seconds:.1f} s, computing the first step")

    def advance(self) -> None:
        """Moves the bar by a step that is done, whose metrics will be recorded later."""
        if not self._is_first_step:
            self._bar.update()
            return
        self._is_first_step = False
        self._bar.set_postfix_str("")
        self._bar.begin_clock(1)

    def train(self, step: int, values: Mapping[str, int | float]) -> None:
        """Records the means over the steps since the last call, and moves the bar."""
        self._record("train", step, values)
        rate = f", {values['images_per_s']:,.0f} images/s" if "images_per_s" in values else ""
        self._bar.set_postfix_str(
            f"loss {values['loss']:.3f}, error {values['error']:.1f}%{rate}", refresh=False
        )
        self._bar.update(max(0, step - self._bar.n))

    def val(self, step: int, values: Mapping[str, int | float]) -> None:
        """Records a validation, and prints it above the bar."""
        self._record("val", step, values)
        if self._write:
            top5 = f"top-5 error {values['top5_error']:6.2f}%  " if self._with_top5 else ""
            self._bar.write(
                f"epoch {values['epoch']:3.0f}: top-1 error {values['top1_error']:6.2f}%  {top5}"
                f"validation loss {values['loss']:.3f}  rate {values['learning_rate']:.3g}"
            )

    def note(self, text: str) -> None:
        """Prints a text above the bar."""
        if self._write:
            self._bar.write(text)

    def sync(self) -> None:
        """Writes the records to disk or to the bucket, to survive a crash of the machine."""
        if self._write:
            self._restore_if_changed()
            os.fsync(self._file.fileno())
            self._events.flush()
            self._mirror.sync()

    def mark(self) -> dict[str, Any] | None:
        """Returns what a checkpoint keeps of the records until now; None if nothing is written."""
        return metrics_file.mark_of(self._written) if self._write else None

    def close(self) -> None:
        """Flushes and closes the files and the bar."""
        self._bar.close()
        if self._write:
            # On a full disk or without the bucket, these fail again, and would hide the error that
            # ended the run. All records that matter were synced before the last checkpoint.
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._events.close()
            with gcs.errors_ignored():
                self._mirror.sync()
            self._mirror.close()

    def _open_file(self) -> None:
        path = self.folder / metrics_file.NAME
        files.write_text(path, b"".join(self._written).decode())
        self._file = path.open("ab", buffering=0)

    def _restore_if_changed(self) -> None:
        path, ours = self.folder / metrics_file.NAME, os.fstat(self._file.fileno())
        size = sum(map(len, self._written))
        if path.exists() and os.path.samestat(path.stat(), ours) and ours.st_size == size:
            return
        self.note(f"{path} was removed or changed while this run wrote to it; it is written again.")
        self._file.close()
        self._open_file()

    def _record(self, kind: str, step: int, values: Mapping[str, int | float]) -> None:
        if not self._write:
            return
        with files.named(pathlib.Path(self._file.name)):
            line = json.dumps({"kind": kind, "step": step, **values}).encode() + b"\n"
            self._file.write(line)
            self._written.append(line)
        self._events.add(kind, step, values)


def _kept(workdir: Path, step: int, validation_due: bool) -> list[bytes]:
    def is_kept(values: metrics_file.Record) -> bool:
        if values["step"] == step and values["kind"] == "val":
            return not validation_due
        return values["step"] <= step

    found = metrics_file.lines(workdir)
    records = (metrics_file.parsed(line, number, workdir) for number, line in enumerate(found, 1))
    return [line for line, values in zip(found, records, strict=True) if is_kept(values)]
