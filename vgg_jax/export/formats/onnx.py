"""ONNX files, which ONNX Runtime and other packages run.

The input "images" is float32 RGB of 0-255, (b, 3, h, w), of any batch size, height and width of at
least the net's crop. The mean and the input scale are in the graph.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.export import foreign_input
from vgg_jax.export.format import Format, refuse_without_fc_layers
from vgg_jax.export.options import Options
from vgg_jax.nets import layers
from vgg_jax.nets.architectures import Layer
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.settings import OddEdges

if TYPE_CHECKING:
    import onnx

# Runtimes since 2021 read these versions. Newer ones add nothing that a net needs.
_OPSET, _IR_VERSION = 15, 8
_INPUT = "images"


class _Graph:
    """A chain of nodes, each of which takes the value of the last one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.value = _INPUT

    def add(self, kind: str, output: str, *constants: str, **attributes: Any) -> None:
        """Adds a node.

        Args:
          kind: Its operator.
          output: The name of its value.
          constants: The names of its other inputs.
          attributes: Its attributes.
        """
        from onnx import helper

        inputs = [self.value, *constants]
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        self.value = output

    def constant(self, name: str, values: np.ndarray) -> str:
        """Adds a constant, and returns its name."""
        self.constants[name] = values
        return name


def write(net: TrainedNet, path: pathlib.Path, options: Options) -> None:
    """Writes the net as a graph of convolutions, from the input to fc8 or to prob."""
    import onnx

    graph = _Graph()
    _add_normalise(graph, net.inference.normalise)
    arrays = dict(foreign_input.own_layers(net))
    for layer in net.model.architecture:
        if layer.num_weights:
            kernel = arrays[layer.name]["kernel"].transpose(3, 2, 0, 1)
            weights = (
                graph.constant(f"{layer.name}.weight", kernel),
                graph.constant(f"{layer.name}.bias", arrays[layer.name]["bias"]),
            )
            _add_conv(graph, layer, weights)
        elif layer.kind == "lrn":
            _add_lrn(graph, layer)
        else:
            _add_pool(graph, layer, net.model.pooling)
    if options.feature == "prob":
        graph.add("GlobalAveragePool", "average")
        graph.add("Flatten", "scores")
        graph.add("Softmax", "prob", axis=1)
    with path.open("wb") as file:
        onnx.save(_model(net, graph), file)


def _add_normalise(graph: _Graph, normalise: Normalise) -> None:
    mean = np.array(normalise.mean_rgb, np.float32).reshape(1, 3, 1, 1)
    graph.add("Sub", "centred", graph.constant("mean", mean))
    scale = np.array(normalise.input_scale, np.float32)
    graph.add("Mul", "input", graph.constant("input_scale", scale))


def _add_conv(graph: _Graph, layer: Layer, weights: Sequence[str]) -> None:
    pad = (layer.kernel_px - 1) // 2 if layer.kind == "conv" else 0
    graph.add("Conv", layer.name, *weights, pads=[pad] * 4)
    if layer.name != "fc8":
        graph.add("Relu", layer.feature_names[1])


def _add_lrn(graph: _Graph, layer: Layer) -> None:
    graph.add(
        "LRN",
        layer.name,
        size=layers.LRN_CHANNELS,
        alpha=layers.LRN_ALPHA * layers.LRN_CHANNELS,  # ONNX divides alpha by the channels.
        beta=layers.LRN_BETA,
        bias=layers.LRN_K,
    )


def _add_pool(graph: _Graph, layer: Layer, odd_edges: OddEdges) -> None:
    side = [layer.kernel_px, layer.kernel_px]
    graph.add(
        "MaxPool", layer.name, kernel_shape=side, strides=side, ceil_mode=int(odd_edges == "ceil")
    )


def _model(net: TrainedNet, graph: _Graph) -> "onnx.ModelProto":
    from onnx import TensorProto, helper

    shape = ["batch", net.model.num_classes]
    if graph.value == "fc8":
        shape += ["rows", "columns"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"VGG {net.model.net}",
            [
                helper.make_tensor_value_info(
                    _INPUT, TensorProto.FLOAT, ["batch", 3, "height", "width"]
                )
            ],
            [helper.make_tensor_value_info(graph.value, TensorProto.FLOAT, shape)],
            doc_string=f"RGB of 0-255, at least {net.model.crop_px} px high and wide.",
        ),
        producer_name="vgg_jax",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    helper.set_model_props(model, {"class_names": json.dumps(net.class_names)})
    for name, values in graph.constants.items():  # The helper's functions would copy them twice.
        model.graph.initializer.add(
            name=name,
            data_type=TensorProto.FLOAT,
            dims=values.shape,
            raw_data=values.astype("<f4", copy=False).tobytes(),
        )
    return model


FORMAT = Format(".onnx", refuse_without_fc_layers, write, options=("output",), package="onnx")
