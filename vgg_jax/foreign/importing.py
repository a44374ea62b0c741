"""Turns the net of a weight file into a workdir."""

import dataclasses
import pathlib

import numpy as np
from ml_collections import ConfigDict

from vgg_jax.errors import UserError, require
from vgg_jax.foreign import checksum, class_names, first_layer, opening, workdir_config
from vgg_jax.foreign.file_errors import naming
from vgg_jax.foreign.net import CAFFE, TORCHVISION, ForeignNet, LayerArrays, Preprocessing
from vgg_jax.foreign.recognise import Recognised, net_of
from vgg_jax.nets import settings as net_settings
from vgg_jax.runs import imported, run_result
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
      workdir: The folder to write; it is absent or empty, or holds this import already.
      c: The config of the run that the workdir is to hold, which `config.validate` has passed; None
        for one that is made from the file.
      choices: The user's choices.

    Returns:
      A line that says what the workdir holds.

    Raises:
      UserError: The workdir is in use, the file can't be read or holds no such net, or the choices
        don't fit it. Nothing is written.
    """
    if not run_result.is_of_import(workdir):
        imported.refuse_used(workdir)
    foreign = opening.foreign_net(path)
    found = _recognised(foreign, choices.net)
    preprocessing = _preprocessing(foreign, choices.preprocessing)
    with naming(path):
        if c is None:
            c = workdir_config.made(found, workdir.name, preprocessing)
        else:
            workdir_config.refuse_misfit(c, found, preprocessing)
        names = _class_names(foreign, found, choices.classes)
    c.eval.pooling = foreign.odd_edges  # Caffe's nets were trained with ceil pooling.
    origin = {
        "file": path.name,
        "sha256": checksum.check(path),
        "layout": foreign.layout,
        "fc_layers": found.num_classes is not None,
    }
    commits = tuple(filter(None, [git_commit.commit()]))
    facts = RunFacts(names, "", "", preprocessing.mean_rgb, commits)
    if not imported.holds(c, workdir, facts, origin):
        imported.refuse_used(workdir)
        with naming(path):
            params = _params(foreign, preprocessing, net_settings.input_scale(c))
        imported.write(c, workdir, params, facts, origin)
    classes = f"{len(names):,} classes" if names else "features but no classes: it has no FC layers"
    return (
        f"{workdir} holds net {c.net} of {path.name} ({foreign.layout}), with {classes}."
        + _report(foreign, choices)
    )


def _recognised(foreign: ForeignNet, net: str | None) -> Recognised:
    shapes = [layer.kernel_shape for layer in foreign.layers.values()]
    names = list(foreign.layers)
    split = names.index("fc6") if "fc6" in names else len(names)
    found = net_of(shapes[:split], shapes[split:])
    nets, said = " or ".join(found.nets), foreign.net
    require(
        said is None or said in found.nets,
        f"The file says that it holds net {said}, but its kernels are those of net {nets}. Give "
        "the weights of a net of Table 1.",
    )
    require(
        net is None or said in (None, net),
        f"The file says that it holds net {said}, but --net={net}. Leave the flag out.",
    )
    net = net or said
    if net is None:
        return found
    require(
        net in found.nets,
        f"--net={net}, but the file holds net {nets}. Leave the flag out.",
    )
    return dataclasses.replace(found, nets=(net,))


def _preprocessing(foreign: ForeignNet, choice: str | None) -> Preprocessing:
    chosen = foreign.preprocessing if choice is None else PREPROCESSINGS[choice]
    if chosen is None:
        raise UserError(
            f"The names in a {foreign.layout} file don't say how its images are preprocessed. Give "
            f"--preprocessing={' or '.join(PREPROCESSINGS)}."
        )
    settled = foreign.preprocessing is not None and not foreign.preprocessing_is_usual
    require(
        not settled or chosen == foreign.preprocessing,
        f"--preprocessing={choice} contradicts the file, whose layout ({foreign.layout}) says how "
        "images are preprocessed. Leave the flag out.",
    )
    return chosen


def _class_names(foreign: ForeignNet, found: Recognised, file: str | None) -> tuple[str, ...]:
    """Returns the names of the classes; none without FC layers."""
    if found.num_classes is None:
        require(
            file is None,
            f"--classes={file} names classes, but the file has no FC layers, so its net has none. "
            "Leave the flag out.",
        )
        return ()
    if file is None and foreign.class_names:
        return foreign.class_names
    return class_names.of_net(found.num_classes, file)


def _report(foreign: ForeignNet, choices: Choices) -> str:
    """Returns the sentences about what a user may not expect."""
    said = []
    if foreign.batch_norm:
        said.append("Its batch norm is folded into the layers: training on trains that plain net.")
    if foreign.preprocessing_is_usual and choices.preprocessing is None:
        usual = next(key for key, one in PREPROCESSINGS.items() if one == foreign.preprocessing)
        others = [key for key in PREPROCESSINGS if key != usual]
        said.append(
            f"It takes images as {usual} preprocesses them, as is usual with these names. If the "
            f"weights are for others, import them with --preprocessing={' or '.join(others)}."
        )
    return "".join(f"\n{sentence}" for sentence in said)


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
