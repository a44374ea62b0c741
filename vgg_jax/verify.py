"""Checks all files in a workdir that carry a digest: `--mode=verify`. It only reads."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors, result_key, results
from vgg_jax.runs import checkpoint_check, record, run_config, run_result, saved_steps
from vgg_jax.storage import sealed_json, sealed_npz
from vgg_jax.storage.files import Path
from vgg_jax.training import metrics_file


class Checked(NamedTuple):
    """A file or a checkpoint that was checked.

    Attributes:
      path: The file, or the folder of the checkpoint.
      damage: What is wrong with it; "" if nothing is.
      has_digest: Whether it carries a digest. Files of earlier versions don't.
    """

    path: Path
    damage: str
    has_digest: bool = True

    def line(self, workdir: Path) -> str:
        """Returns the line that reports it."""
        state = "ok" if self.has_digest else "readable, but it carries no digest"
        damage = self.damage.removeprefix(f"{self.path} is ")
        return f"{self.path.relative_to(workdir)}: {damage or state}"


def verify(workdir: Path) -> None:
    """Prints a line for each file of a run.

    Raises:
      UserError: There is no run, or files are damaged or missing.
    """
    good, damaged, others = [], [], 0
    for checked in check(workdir):
        print(checked.line(workdir), flush=True)
        if checked.path.parent.name == saved_steps.FOLDER:
            (damaged if checked.damage else good).append(checked.path)
        elif checked.damage:
            others += 1
    if not damaged and not others:
        return
    count = len(damaged) + others
    message = f"{count} of the files above {'is' if count == 1 else 'are'} damaged or missing."
    if others:
        message += " The line of each file says what to do."
    if damaged:
        last_good = int(good[-1].name) if good else None
        message += f"\n{checkpoint_check.remedy(damaged, last_good, is_checked=True)}"
    raise UserError(message)


def check(workdir: Path) -> Iterator[Checked]:
    """Checks one file of a run after the other, and each checkpoint.

    Raises:
      UserError: There is no run in the workdir.
    """
    config, result = run_config.path(workdir), run_result.path(workdir)
    steps = saved_steps.complete(workdir)
    if not (config.exists() or result.exists() or steps):
        raise UserError(run_config.no_run(workdir))
    yield _checked(config, functools.partial(_config, workdir), sealed_json.is_sealed)
    if result.exists():
        yield _checked(result, lambda: run_result.read(workdir), sealed_json.is_sealed)
    history = workdir / metrics_file.NAME
    if history.exists() or metrics_file.last_mark(workdir):
        yield _checked(
            history,
            lambda: metrics_file.read(workdir, "val"),
            lambda _: metrics_file.last_mark(workdir) is not None,
        )
    if result.exists() and not steps:
        damage = "missing, but there is a result. Restore the folder from a copy."
        yield Checked(workdir / saved_steps.FOLDER, damage)
    for step in steps:
        checkpoint = saved_steps.path(workdir, step)
        damage = checkpoint_check.damage(checkpoint)
        if damage is None:
            yield Checked(checkpoint, "", checkpoint_check.has_digests(checkpoint))
        elif not saved_steps.is_removed(checkpoint):
            yield Checked(checkpoint, f"damaged ({damage})")
    folder = workdir / result_key.FOLDER
    for path in sorted(folder.glob("*.json")):
        yield _checked(path, functools.partial(results.read_result, path), sealed_json.is_sealed)
    for path in sorted(folder.glob("*.npz")):
        yield _checked(path, functools.partial(posteriors.read, path), sealed_npz.is_sealed)


def _config(workdir: Path) -> None:
    if run_config.load(workdir) is None:
        raise UserError("missing. Restore it from a copy.")
    run_config.refuse_other_than(record.last_progress(workdir).get("config", {}), workdir)


def _checked(path: Path, read: Callable[[], object], has_digest: Callable[[Path], bool]) -> Checked:
    try:
        read()
        return Checked(path, "", has_digest(path))
    except UserError as error:
        return Checked(path, str(error))
