"""Saves small VGGs of Keras in each of its formats, with their predictions: a process of its own.

Call: python keras_models.py FOLDER. The folder has weights.npz (arrays LAYER/kernel and LAYER/bias
in this package's layout), images.npy (RGB of 0-255) and applications.h5 (the layers in Keras
Applications' layout, which Keras's own loader is to read).
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers as kl

FC = ("fc1", "fc2", "predictions")


def body(shapes, names):
    """Returns a net's layers, with a pooling after each block."""
    result = []
    convs = [name for name in shapes if name.startswith("conv")]
    for name, following in zip(convs, [*convs[1:], "fc6"], strict=True):
        block, index = name[4], name[6]
        own = f"block{block}_conv{index}" if names else None
        result.append(kl.Conv2D(shapes[name][-1], 3, padding="same", activation="relu", name=own))
        if following[:5] != name[:5]:
            result.append(kl.MaxPooling2D(2, name=f"block{block}_pool" if names else None))
    return result


def head(shapes, names, dropout):
    result = [kl.Flatten(name="flatten" if names else None)]
    for own, name in zip(FC, ("fc6", "fc7", "fc8"), strict=True):
        activation = None if name == "fc8" else "relu"
        result.append(
            kl.Dense(shapes[name][-1], activation=activation, name=own if names else None)
        )
        if dropout and name != "fc8":
            result.append(kl.Dropout(0.5))
    return result


def functional(layers, image):
    inputs = outputs = keras.Input(image)
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name="vgg16")


def models(shapes, image):
    """Yields models by their names, each with layers of its own."""
    yield "functional", functional(body(shapes, True) + head(shapes, True, False), image)
    yield "unnamed", functional(body(shapes, False) + head(shapes, False, True), image)
    layers = body(shapes, True) + head(shapes, True, True)
    yield "sequential", keras.Sequential([keras.Input(image), *layers])
    layers = body(shapes, False) + head(shapes, False, False)
    yield "unnamed_sequential", keras.Sequential([keras.Input(image), *layers])
    trunk = functional(body(shapes, True), image)
    yield "nested", keras.Sequential([keras.Input(image), trunk, *head(shapes, False, True)])
    yield "notop", functional(body(shapes, True), image)


def flat_layers(model):
    for layer in model.layers:
        yield from flat_layers(layer) if hasattr(layer, "layers") else [layer]


def main(folder):
    arrays = np.load(folder / "weights.npz")
    images = np.load(folder / "images.npy")
    shapes = {name[:-7]: arrays[name].shape for name in arrays if name.endswith("/kernel")}
    inputs = keras.applications.vgg16.preprocess_input(images.astype(np.float32))
    predictions = {}
    for name, model in models(shapes, images.shape[1:]):
        weighted = [
            layer for layer in flat_layers(model) if isinstance(layer, (kl.Conv2D, kl.Dense))
        ]
        for layer, ours in zip(weighted, shapes, strict=False):
            kernel = arrays[f"{ours}/kernel"].reshape(layer.kernel.shape)
            layer.set_weights([kernel, arrays[f"{ours}/bias"]])
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
        model.optimizer.build(model.trainable_variables)
        predictions[name] = model.predict(inputs, verbose=0)
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")
        if name == "functional":
            for layer in weighted:
                layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
            model.load_weights(folder / "applications.h5")
            predictions["applications"] = model.predict(inputs, verbose=0)
            keras.config.set_dtype_policy("bfloat16")
            half = functional(body(shapes, True) + head(shapes, True, False), images.shape[1:])
            half.set_weights(model.get_weights())
            half.save_weights(folder / "bfloat16.weights.h5")
            keras.config.set_dtype_policy("float32")
    np.savez(folder / "predictions.npz", **predictions)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
