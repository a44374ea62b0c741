"""Turns the net of a weight file into a workdir."""

import dataclasses
import pathlib

import numpy as np
from ml_collections import ConfigDict

from vgg_jax import base_config
from vgg_jax.errors import UserError, require
from vgg_jax.foreign import checksum, class_names, first_layer, opening
from vgg_jax.foreign.file_errors import naming
from vgg_jax.foreign.net import CAFFE, TORCHVISION, ForeignNet, LayerArrays, Preprocessing
from vgg_jax.foreign.recognise import Recognised, net_of
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.settings import OddEdges
from vgg_jax.runs import imported
from vgg_jax.runs.facts import RunFacts
from vgg_jax.storage.files import Path
from vgg_jax.system import git_commit

PREPROCESSINGS = {"torchvision": TORCHVISION, "caffe": CAFFE}


@dataclasses.dataclass(frozen=True)
class Choices:
    """The user's choices, where a weight file leaves something open.

    Attributes:
      net: One of `architectures.NETS`, for shapes that two nets have; None for the first of them.
      preprocessing: One of `PREPROCESSINGS`; None for the layout's own.
      classes: A text file with the classes' names; None for ImageNet's.
    """

    net: str | None = None
    preprocessing: str | None = None
    classes: str | None = None


def import_file(path: pathlib.Path, workdir: Path, c: ConfigDict | None, choices: Choices) -> str:
    """Imports a weight file.

    Args:
      path: The file.
      workdir: The folder to write; it is absent or empty.
      c: The config of the run that the workdir is to hold, which `config.validate` has passed; None
        for one that is made from the file.
      choices: The user's choices.

    Returns:
      A line that says what the workdir holds.

    Raises:
      UserError: The workdir is in use, the file can't be read or holds no such net, or the choices
        don't fit it. Nothing is written.
    """
    imported.refuse_used(workdir)
    foreign = opening.foreign_net(path)
    found = _recognised(foreign, choices.net)
    preprocessing = _preprocessing(foreign, choices.preprocessing)
    if c is None:
        c = _new_config(found, workdir.name, foreign.odd_edges, preprocessing)
    c.eval.pooling = foreign.odd_edges  # Caffe's nets were trained with ceil pooling.
    _refuse_misfit(c, found)
    names = foreign.class_names
    if found.num_classes and (choices.classes or not names):
        names = class_names.of_net(found.num_classes, choices.classes)
    origin = {"file": path.name, "sha256": checksum.check(path), "layout": foreign.layout}
    commits = tuple(filter(None, [git_commit.commit()]))
    facts = RunFacts(names, "", "", preprocessing.mean_rgb, commits)
    with naming(path):
        params = _params(foreign, preprocessing, net_settings.input_scale(c))
    imported.write(c, workdir, params, facts, origin)
    folded = (
        " Its batch norm is folded into the layers: training on trains that plain net."
        if foreign.batch_norm
        else ""
    )
    return (
        f"{workdir} holds net {c.net} of {path.name} ({foreign.layout}), with {len(names):,} "
        f"classes.{folded}"
    )


def _recognised(foreign: ForeignNet, net: str | None) -> Recognised:
    shapes = [layer.kernel_shape for layer in foreign.layers.values()]
    names = list(foreign.layers)
    split = names.index("fc6") if "fc6" in names else len(names)
    found = net_of(shapes[:split], shapes[split:])
    if net is None and foreign.net in found.nets:
        net = foreign.net
    if net is None:
        return found
    require(
        net in found.nets,
        f"--net={net}, but the file holds net {' or '.join(found.nets)}. Leave the flag out.",
    )
    return dataclasses.replace(found, nets=(net,))


def _new_config(
    found: Recognised, name: str, odd_edges: OddEdges, preprocessing: Preprocessing
) -> ConfigDict:
    c = base_config.get_config()
    c.name = name
    c.net, c.width = found.nets[0], found.width
    c.crop_px = found.crop_px or c.crop_px
    c.num_classes = found.num_classes or 0
    side = round(256 / 224 * c.crop_px)
    c.train_scale, c.val_scale = (side, side), side
    c.eval.pooling = odd_edges
    c.data.mean_rgb = preprocessing.mean_rgb
    return c


def _refuse_misfit(c: ConfigDict, found: Recognised) -> None:
    """Checks that a config describes the net of a weight file."""
    theirs = {"net": c.net if c.net in found.nets else found.nets[0], "width": found.width}
    if found.num_classes:
        theirs |= {"crop_px": found.crop_px, "num_classes": found.num_classes}
    differing = [
        f"{key} is {value} in the file and {c[key]} in the config"
        for key, value in theirs.items()
        if c[key] != value and not (key == "num_classes" and c[key] == 0)
    ]
    require(
        not differing,
        f"The file holds another net than the config: {', '.join(differing)}. Give the config of "
        "the file's net, or leave --config out.",
    )


def _preprocessing(foreign: ForeignNet, choice: str | None) -> Preprocessing:
    if choice is not None:
        return PREPROCESSINGS[choice]
    if foreign.preprocessing is None:
        raise UserError(
            f"The names in a {foreign.layout} file don't say how its images are preprocessed. Give "
            f"--preprocessing={' or '.join(PREPROCESSINGS)}."
        )
    return foreign.preprocessing


def _params(
    foreign: ForeignNet, preprocessing: Preprocessing, scale: float
) -> dict[str, LayerArrays]:
    """Reads the parameters, with conv1_1 for the input of this package."""
    params = {}
    for name, layer in foreign.layers.items():
        arrays = layer.load()
        for kind, values in arrays.items():
            require(
                bool(np.isfinite(values).all()),
                f"The {kind} of {name} holds values that are not finite. The file is damaged, or "
                "was saved from a training that diverged.",
            )
        if name == "conv1_1":
            arrays = first_layer.for_our_input(arrays, preprocessing, scale)
        # A reader may return a view, for instance of a kernel with its axes in another order.
        params[name] = {kind: np.ascontiguousarray(values) for kind, values in arrays.items()}
    return params
