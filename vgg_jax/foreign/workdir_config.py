"""The config of an imported net's workdir: made from the file, or the user's and checked."""

import math

from ml_collections import ConfigDict

from vgg_jax import base_config
from vgg_jax.data.settings import AUTO_MEAN
from vgg_jax.errors import require
from vgg_jax.foreign.net import Preprocessing
from vgg_jax.foreign.recognise import Recognised
from vgg_jax.nets import architectures
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.settings import UNIT_VARIANCE_SCALE


def made(found: Recognised, name: str, preprocessing: Preprocessing) -> ConfigDict:
    """Returns a config that describes a net.

    Args:
      found: The net.
      name: The name of the run.
      preprocessing: The input that the net expects.
    """
    c = base_config.get_config()
    c.name = name
    c.net, c.width = found.nets[0], found.width
    c.crop_px = found.crop_px or c.crop_px
    c.num_classes = found.num_classes or 0
    side = round(256 / 224 * c.crop_px)
    c.train_scale, c.val_scale = (side, side), side
    c.data.mean_rgb = preprocessing.mean_rgb
    return c


def refuse_misfit(c: ConfigDict, found: Recognised, preprocessing: Preprocessing) -> None:
    """Checks that a config is that of a finished run of a net.

    Args:
      c: A config that `config.validate` has passed.
      found: The net. It has several names if the user hasn't chosen one.
      preprocessing: The input that it expects.

    Raises:
      UserError: The config describes another net, which of two nets the file holds is open, the
        file has no FC layers, or the config has another mean or input scale than an import.
    """
    require(
        found.num_classes is not None,
        "The file has no FC layers, so it is no finished run of a config, whose net has classes. "
        "Leave --config out, and start the config's run from this workdir: "
        "--config.init_from=WORKDIR --config.init_layers=all_but_fc8.",
    )
    _refuse_other_net(c, found)
    _refuse_other_input(c, preprocessing)


def _refuse_other_net(c: ConfigDict, found: Recognised) -> None:
    first, *others = found.nets
    require(
        c.net not in others,
        f"The file's shapes are those of net {' and '.join(found.nets)}, and the config is of net "
        f"{c.net}. If the file holds that net, say so: --net={c.net}. Otherwise give a config of "
        f"net {first}.",
    )
    theirs = {"net": first, "crop_px": found.crop_px, "num_classes": found.num_classes}
    if c.num_classes == 0:  # The config takes as many as there are.
        del theirs["num_classes"]
    if not architectures.same_width(first, c.width, found.width):
        theirs["width"] = found.width
    differing = [
        f"{key} is {value} in the file and {c[key]} in the config"
        for key, value in theirs.items()
        if c[key] != value
    ]
    require(
        not differing,
        f"The file holds another net than the config: {', '.join(differing)}. Give the config of "
        "the file's net, or leave --config out.",
    )


def _refuse_other_input(c: ConfigDict, preprocessing: Preprocessing) -> None:
    ours, theirs = c.data.mean_rgb, preprocessing.mean_rgb
    is_given = ours not in (AUTO_MEAN, ())
    require(
        not is_given or net_settings.same_mean(ours, theirs),
        f"The file's net subtracts the mean RGB {','.join(map(str, theirs))}, and the config says "
        f"data.mean_rgb={','.join(map(str, ours))}. Take the file's: --config.data.mean_rgb=auto.",
    )
    scale = net_settings.input_scale(c)
    require(
        math.isclose(scale, UNIT_VARIANCE_SCALE, rel_tol=1e-4),
        f"The config's input scale is {scale:g} (init={c.init}, input_scale={c.input_scale:g}), at "
        "which training on from an imported net diverges. Imports have 1/70: "
        f"--config.input_scale={UNIT_VARIANCE_SCALE}.",
    )
