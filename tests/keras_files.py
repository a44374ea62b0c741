"""Writes HDF5 files as Keras has, of all its ages."""

import re

import foreign_layers
import h5py
import numpy as np

FC = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def applications_name(name):
    """Returns the name of Keras Applications for one of our layers."""
    return FC.get(name) or re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", name)


def arrays(name, layer):
    kernel = layer["kernel"]
    return [foreign_layers.flattened_hwc(kernel) if name in FC else kernel, layer["bias"]]


def legacy(root, layers, weight_name="{name}/{array}:0", rename=applications_name):
    """Writes Keras 1's and 2's layout, with layers between that have no weights.

    Args:
      root: The file, or its group model_weights.
      layers: The layers.
      weight_name: The names of the datasets, below each layer's group. {letter} is W or b.
      rename: The layers' names by ours.
    """
    root.attrs["layer_names"] = np.array(
        [b"input_1", *(rename(name).encode() for name in layers), b"flatten"]
    )
    for empty in ("input_1", "flatten"):
        root.create_group(empty).attrs["weight_names"] = np.zeros(0, "S1")
    for name, layer in layers.items():
        group = root.create_group(rename(name))
        names = [
            weight_name.format(name=rename(name), array=array, letter=letter)
            for array, letter in (("kernel", "W"), ("bias", "b"))
        ]
        group.attrs["weight_names"] = np.array([name.encode() for name in names])
        for dataset, array in zip(names, arrays(name, layer), strict=True):
            group[dataset] = array


def keras_3(root, layers, *, noted_names=None):
    """Writes Keras 3's layout, with the optimiser's arrays and a dropout's seed.

    Args:
      root: The file.
      layers: The layers.
      noted_names: The names that are noted, by ours; None for none.
    """
    numbers = {"conv2d": 0, "dense": 0}
    for name, layer in layers.items():
        kind = "dense" if name in FC else "conv2d"
        number = numbers[kind]
        numbers[kind] += 1
        group = root.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
        for index, array in enumerate(arrays(name, layer)):
            group[str(index)] = array
            root[f"optimizer/vars/{2 * (number + (kind == 'dense') * 20) + index}"] = array
        if noted_names is not None:
            group.attrs["name"] = noted_names[name]
    if noted_names is not None:
        root["optimizer/vars"].attrs["name"] = "sgd"
    root["layers/dropout/seed_generator/vars/0"] = np.array([1, 2], np.uint32)


def write(path, layout, *given, **options):
    with h5py.File(path, "w") as file:
        layout(file, *given, **options)
