"""Writes what devices exchange in a training step as text: see `vgg_jax.describe --mesh`."""

import collections
import dataclasses
import math
import re
from collections.abc import Sequence

import jax
import numpy as np

from vgg_jax.analysis import text_table, traffic
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.analysis.traffic import Collective
from vgg_jax.nets import architectures, sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG
from vgg_jax.runs.state import TrainState, abstract_state
from vgg_jax.training import parallel
from vgg_jax.training.optimiser import sgd
from vgg_jax.training.step import Recipe

_HEADER = ("what", "operation", "over", "arrays", "MB", "MB sent")
_LEGEND = (
    "MB: the whole arrays that are summed or gathered. MB sent: what each device sends if those",
    "that exchange are a ring: (n - 1) / n of an array among n devices, and twice that to sum it.",
    "XLA has compiled this step for CPUs. Other compilers may turn an all-reduce whose sum is then",
    "split, as that of activations' gradients is, into a reduce-scatter, which sends half of that.",
)


def table(spec: NetSpec, step: StepSpec, data: int, model_parallel: int) -> str:
    """Compiles the training step for a mesh and writes a text table of what devices exchange.

    Args:
      spec: The net.
      step: Its batch is the number of images on all devices together; None means 256. Its dtype is
        ignored: the arithmetic is float32.
      data, model_parallel: Numbers of devices along the axes of the mesh: see
        `sharding.make_mesh`.

    Raises:
      ValueError: The FC layers or the batch don't divide over the devices; see also
        `architectures.layers`.
    """
    batch = 256 if step.batch is None else step.batch
    micro_batches = 1 if step.micro_batches is None else step.micro_batches
    num_devices = data * model_parallel
    _refuse_undividable(spec, num_devices, model_parallel, batch, micro_batches)
    mesh = sharding.make_mesh(jax.devices()[:num_devices], model_parallel=model_parallel)
    model = VGG(**dataclasses.asdict(spec), remat=bool(step.remat))
    state, program = _compile(model, mesh, batch, micro_batches)

    parts = f" in {micro_batches} micro-batches" if micro_batches > 1 else ""
    title = (
        f"{spec.net}: what {data} x {model_parallel} devices (data x model) exchange in a training "
        f"step of {batch:,} images{parts}, in MB (10^6 bytes): {spec.num_classes:,} classes, "
        f"width {spec.width:g}, {spec.crop_px} px crop, float32"
    )
    held = f"Parameters and momentum take {_num_bytes(state) / 1e6:,.1f} MB on each device."
    exchanged = _exchanged(traffic.collectives(program), mesh)
    return "\n".join([title, "", *exchanged, "", held, *_LEGEND])


def _refuse_undividable(
    spec: NetSpec, num_devices: int, model_parallel: int, batch: int, micro_batches: int
) -> None:
    choices = architectures.model_parallel_choices(spec.layers(), num_devices)
    if model_parallel not in choices:
        raise ValueError(
            f"{model_parallel} devices cannot share the outputs of FC6 and FC7 evenly; of "
            f"{num_devices} devices {' or '.join(map(str, choices))} can."
        )
    if batch < 1 or micro_batches < 1 or batch % (num_devices * micro_batches):
        raise ValueError(
            f"batch={batch} doesn't divide over {num_devices} devices with "
            f"micro_batches={micro_batches} on each."
        )


def _exchanged(collectives: Sequence[Collective], mesh: jax.sharding.Mesh) -> list[str]:
    """Writes the table: one row for all similar exchanges, the largest first, and the sums."""
    rows: dict[tuple[str, str, str], list[float]] = collections.defaultdict(lambda: [0, 0, 0])
    for one in collectives:
        over, along_model = _over(one, mesh)
        row = rows[_what(one, along_model), one.kind, over]
        for at, value in enumerate((1, one.num_bytes, one.sent_bytes)):
            row[at] += one.times * value
    ordered = sorted(rows.items(), key=lambda item: -item[1][1])
    sums = [sum(row[at] for row in rows.values()) for at in range(3)]
    return text_table.align(
        _HEADER,
        [(*names, *_cells(row)) for names, row in ordered],
        num_text_columns=3,
        sums=("sum", "", "", *_cells(sums)),
    )


def _compile(
    model: VGG, mesh: jax.sharding.Mesh, batch: int, micro_batches: int
) -> tuple[TrainState, str]:
    """Compiles the step without making arrays; returns its abstract state and its HLO text."""
    # The rates, scales and seeds don't matter, because they change no array's size.
    optimiser = sgd(0.9, 5e-4)
    recipe = Recipe(
        Normalise((0.0, 0.0, 0.0), 1.0), seed=0, colour_shift=0.1, micro_batches=micro_batches
    )
    train_step = parallel.train_step(model, optimiser, mesh, recipe)
    state = abstract_state(model, optimiser, mesh)
    images = jax.ShapeDtypeStruct((batch, model.crop_px, model.crop_px, 3), np.uint8)
    labels = jax.ShapeDtypeStruct((batch,), np.int32)
    lowered = train_step.lower(state, {"image": images, "label": labels}, np.float32(0))
    return state, lowered.compile().as_text()


def _over(one: Collective, mesh: jax.sharding.Mesh) -> tuple[str, bool]:
    """Returns the axes along which devices exchange an array, and whether this is "model"."""
    devices = np.arange(mesh.size).reshape(mesh.devices.shape)
    groups = {frozenset(group) for group in one.groups}
    along_model = groups == {*map(frozenset, devices.tolist())}
    if groups == {frozenset(range(mesh.size))}:
        return "all", along_model
    if groups == {*map(frozenset, devices.T.tolist())}:
        return "data", False
    return "model" if along_model else "some", along_model


def _what(one: Collective, along_model: bool) -> str:
    """Names an exchanged array after the operation of `step` or `vgg` that it comes from."""
    layer = re.search(r"/(conv|fc\d)", one.op_name)
    of_fc = layer is not None and layer[1] != "conv"
    backward = "transpose(" in one.op_name
    if not one.op_name:
        return "unknown"
    if one.shape.endswith("[]"):
        return "loss and error"
    if "threefry" in one.op_name:
        return "dropout's keys"
    # FC kernels are split along "model", so a sum along it is not their gradient.
    if backward and one.kind in ("all-reduce", "reduce-scatter") and not (of_fc and along_model):
        if layer is None:
            return "gradients of biases"
        return f"gradient of {layer[1]}'s kernel" if of_fc else "gradients of convolutions"
    return "gradients of activations" if backward else "activations"


def _num_bytes(state: TrainState) -> int:
    """Counts the bytes of an abstract state on one device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(state)
    )


def _cells(row: Sequence[int | float]) -> tuple[str, ...]:
    arrays, num_bytes, sent = row
    return f"{arrays:,}", f"{num_bytes / 1e6:,.3f}", f"{sent / 1e6:,.3f}"
