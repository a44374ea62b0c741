"""This package's own names: conv1_1/kernel is a kernel, HWIO, and conv1_1/bias its bias."""

from vgg_jax.errors import require
from vgg_jax.foreign import own_notes
from vgg_jax.foreign.layer_chain import KernelAxes, named_layers
from vgg_jax.foreign.net import ForeignNet, Preprocessing
from vgg_jax.foreign.tensors import Tensors

KERNEL, BIAS = "/kernel", "/bias"  # What follows a layer's name.

_AXES = KernelAxes(conv="HWIO", fc="IO", flattened="HWC")


def has_names(tensors: Tensors) -> bool:
    """Returns whether a file has this package's names."""
    return f"conv1_1{KERNEL}" in tensors.shapes


def convert(tensors: Tensors) -> ForeignNet | None:
    """Returns the net of a file that this package exported, or None if it is another's.

    Raises:
      UserError: The notes are damaged or missing, or the layers aren't those of one of these nets.
    """
    if not has_names(tensors):
        return None
    require(
        own_notes.has(tensors.metadata),
        "These weights have this package's names, but not its notes of the net's mean, input scale "
        "and classes. Another program has saved them without the metadata. Import the file that "
        "`vgg_jax.weights export` wrote, or save its metadata again beside the arrays.",
    )
    notes = own_notes.from_metadata(tensors.metadata)
    layers = named_layers(tensors, KERNEL, BIAS, _AXES)
    if "fc8" in layers:
        classes, outputs = len(notes.class_names), layers["fc8"].kernel_shape[3]
        require(
            classes == outputs,
            f"These weights name {classes:,} classes, and fc8 has {outputs:,} outputs. Export the "
            "net again.",
        )
    std = 1 / notes.input_scale
    return ForeignNet(
        layout="vgg_jax",
        layers=layers,
        preprocessing=Preprocessing(bgr=False, mean_rgb=notes.mean_rgb, std_rgb=(std, std, std)),
        odd_edges=notes.odd_edges,
        net=notes.net,
        class_names=notes.class_names,
    )
