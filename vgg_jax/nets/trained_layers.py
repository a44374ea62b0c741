"""The layers that a run trains: all of them, or those whose names begin with given prefixes."""

from collections.abc import Sequence

from vgg_jax.errors import UserError
from vgg_jax.nets import architectures


def is_trained(layer: str, trained_layers: str) -> bool:
    """Returns whether a layer learns.

    Args:
      layer: The layer's name, for example conv5_1.
      trained_layers: "all", or the prefixes of the names of the layers that learn, separated by
        commas: "fc" for FC6 to FC8, "conv5_,fc" for these and the last block's convolutions.
    """
    return trained_layers == "all" or layer.startswith(tuple(trained_layers.split(",")))


def check(trained_layers: str, net: Sequence[architectures.Layer]) -> None:
    """Checks that each prefix names a layer of the net.

    Raises:
      UserError: A prefix is empty or begins no layer's name; the message lists the layers.
    """
    if trained_layers == "all":
        return
    layers = [layer.name for layer in net if layer.num_weights]
    for prefix in trained_layers.split(","):
        if not prefix or not any(layer.startswith(prefix) for layer in layers):
            raise UserError(
                f"trained_layers={trained_layers!r} must be all, or prefixes of layers, such as "
                f"conv5_,fc. {prefix!r} names none of {', '.join(layers)}."
            )
