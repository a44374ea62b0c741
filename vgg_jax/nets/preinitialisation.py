"""Starts a deeper net from a trained A, as the paper does (§3.1)."""

from vgg_jax.nets import architectures
from vgg_jax.nets.vgg import Params


def preinitialise(params: Params, trained: Params) -> Params:
    """Copies the first four convolutions and FC layers of a trained A into a deeper net (§3.1).

    A's convolutions keep their names: conv1_1, conv2_1, conv3_1 and conv3_2. A convolution is
    copied only if its kernel has the same shape, so B-5x5 takes only the FC layers.

    Args:
      params: Freshly drawn parameters of the deeper net.
      trained: Parameters of the trained A.

    Raises:
      ValueError: The FC kernels' shapes differ: the nets have different crops, widths or numbers
        of classes.
    """
    result = dict(params)
    for name in architectures.PREINITIALISED:
        ours, theirs = params.get(name), trained.get(name)
        fits = ours and theirs and ours["kernel"].shape == theirs["kernel"].shape
        if fits:
            result[name] = theirs
        elif name.startswith("fc"):
            raise ValueError(
                f"{name} cannot be pre-initialised: its kernel is {ours['kernel'].shape}, the "
                f"trained net's {theirs['kernel'].shape}. Train both with the same crop_px, "
                "width and number of classes."
            )
    return result
