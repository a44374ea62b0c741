"""The input with which a new run begins: the mean that it subtracts, and the input scale."""

import contextlib
import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from vgg_jax.data.scan_results import Rgb
from vgg_jax.data.settings import AUTO_MEAN, ILSVRC_MEAN_RGB
from vgg_jax.nets import settings as net_settings
from vgg_jax.runs import chain, run_config
from vgg_jax.runs.checkpoint_errors import until_not_pruned
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.storage.files import Path


@dataclasses.dataclass(frozen=True)
class NetInput:
    """The input of a new run.

    Attributes:
      mean_rgb: The mean that is subtracted, 0-255.
      input_scale: The value of the config's input_scale that the run saves.
      origin: A clause that says where the parameters and the mean come from.
      warning: A sentence if the mean isn't that of the run it starts from; "" otherwise.
    """

    mean_rgb: Rgb
    input_scale: float
    origin: str
    warning: str


def of_new_run(c: ConfigDict, workdir: Path, data_mean_rgb: Rgb, *, is_ilsvrc: bool) -> NetInput:
    """Finds the input of a run that has no checkpoint yet.

    The layers of the run that it starts from were trained with that run's mean and input scale, so
    these are kept unless the config gives others.

    Args:
      c: A config that `chain.check` has passed.
      workdir: The run's workdir.
      data_mean_rgb: The mean of the training images.
      is_ilsvrc: Whether these are ILSVRC's: see `forms.is_ilsvrc`.

    Raises:
      UserError: The checkpoint of the run that it starts from can't be read.
    """
    source = chain.resolve(c.init_from, workdir)
    theirs = None if source is None else _mean_of(source)
    mean, whose = _chosen(c, data_mean_rgb, theirs, is_ilsvrc)
    warning = ""
    if theirs is not None and not net_settings.same_mean(mean, theirs):
        warning = (
            f"Warning: the layers of {source} were trained with the mean {_shown(theirs)}. "
            "--config.data.mean_rgb=auto keeps it."
        )
    return NetInput(
        mean_rgb=mean,
        input_scale=_input_scale(c, source),
        origin=f"starts from {source or 'random parameters'}, with the mean RGB {_shown(mean)} "
        f"{whose}",
        warning=warning,
    )


def _chosen(
    c: ConfigDict, data_mean_rgb: Rgb, theirs: Rgb | None, is_ilsvrc: bool
) -> tuple[Rgb, str]:
    """Returns the mean that a config chooses, and whose it is."""
    given = tuple(c.data.mean_rgb)
    if given not in (AUTO_MEAN, ()):
        red, green, blue = map(float, given)
        return (red, green, blue), "of data.mean_rgb"
    if given == AUTO_MEAN and theirs is not None:
        return theirs, "of that run"
    if given == AUTO_MEAN and is_ilsvrc:
        return ILSVRC_MEAN_RGB, "of ILSVRC"
    return data_mean_rgb, "of the training images"


def _mean_of(source: Path) -> Rgb:
    def read() -> Rgb:
        with contextlib.closing(Checkpoints(source, read_only=True)) as checkpoints:
            return checkpoints.restore_run().facts.mean_rgb

    return until_not_pruned(read)


def _input_scale(c: ConfigDict, source: Path | None) -> float:
    if c.input_scale or source is None:
        return c.input_scale
    theirs = net_settings.input_scale(run_config.existing(source))
    return c.input_scale if theirs == net_settings.input_scale(c) else theirs


def _shown(mean: Sequence[float]) -> str:
    return ",".join(f"{value:.1f}" for value in mean)
