"""The arrays of nets of Table 1 under the names of other packages, for tests."""

import numpy as np

from vgg_jax.foreign.tensors import Tensors
from vgg_jax.nets import architectures

CROP_PX = 64
NUM_CLASSES = 7


class InMemory(Tensors):
    """Arrays as a weight file has them, without a file."""

    def __init__(self, arrays):
        self.shapes = {name: array.shape for name, array in arrays.items()}
        self._arrays = arrays

    def read(self, name):
        return self._arrays[name]


def random_params(net, *, width=1 / 16, crop_px=CROP_PX, num_classes=NUM_CLASSES, fc=True, seed=0):
    """Draws {layer: {"kernel": HWIO, "bias": O}}, float32, with biases well away from 0.

    With a crop of 64 px FC6's kernel covers 2x2 cells, so that orders of flattening differ.
    """
    rng = np.random.default_rng(seed)
    layers = architectures.layers(net, width=width, crop_px=crop_px, num_classes=num_classes)
    params = {}
    for layer in layers:
        if not layer.num_weights or (layer.kind == "fc" and not fc):
            continue
        shape = (layer.kernel_px, layer.kernel_px, layer.features_in, layer.features)
        kernel = rng.normal(size=shape) * (2 / np.prod(shape[:3])) ** 0.5
        bias = rng.uniform(0.1, 0.5, layer.features) * rng.choice([-1, 1], layer.features)
        params[layer.name] = {
            "kernel": kernel.astype(np.float32),
            "bias": bias.astype(np.float32),
        }
    return params


def torchvision(net, params, *, norms=None):
    """Returns the arrays of a net under torchvision's names.

    Args:
      net: One of `architectures.NETS`.
      params: Its parameters.
      norms: None, or each convolution's batch norm as in `random_norms`.
    """
    arrays = {}
    index = 0
    for layer in architectures.layers(net):
        if layer.kind == "pool":
            index += 1
        if layer.kind != "conv":
            continue
        arrays |= _module(f"features.{index}", params[layer.name])
        index += 1
        if norms:
            arrays |= {f"features.{index}.{key}": a for key, a in norms[layer.name].items()}
            arrays[f"features.{index}.num_batches_tracked"] = np.array(9)
            index += 1
        index += 1  # ReLU.
    for number, name in enumerate(("fc6", "fc7", "fc8")):
        if name in params:
            flat = _flat(params[name]["kernel"])
            arrays |= {
                f"classifier.{3 * number}.weight": flat,
                f"classifier.{3 * number}.bias": params[name]["bias"],
            }
    return arrays


def timm(net, params):
    """Returns the arrays of a net under timm's names."""
    convolutions = {name: layer for name, layer in params.items() if name.startswith("conv")}
    return {
        **torchvision(net, convolutions),
        **_module("pre_logits.fc1", params["fc6"]),
        **_module("pre_logits.fc2", params["fc7"]),
        "head.fc.weight": _flat(params["fc8"]["kernel"]),
        "head.fc.bias": params["fc8"]["bias"],
    }


def random_norms(params, seed=0):
    """Draws a batch norm for each convolution, with no value at or near 0 or 1."""
    rng = np.random.default_rng(seed)

    def drawn(layer, low, high):
        return rng.uniform(low, high, layer["bias"].shape).astype(np.float32)

    return {
        name: {
            "weight": drawn(layer, 0.3, 0.9),
            "bias": drawn(layer, 0.1, 0.6),
            "running_mean": drawn(layer, -0.7, -0.2),
            "running_var": drawn(layer, 0.2, 0.8),
        }
        for name, layer in params.items()
        if name.startswith("conv")
    }


def _module(name, layer):
    kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
    return {f"{name}.weight": kernel, f"{name}.bias": layer["bias"]}


def _flat(kernel):
    """Returns an FC kernel as a matrix (outputs, inputs), whose inputs are in C, H, W order."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1))
