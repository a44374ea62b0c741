"""Writes the predicted memory of a training step as text: see `vgg_jax.describe --batch`."""

import dataclasses
import itertools
from collections.abc import Sequence

from vgg_jax.analysis import memory, text_table
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.nets import architectures

# The usual memory sizes of GPUs and TPUs, and the share of a GPU's that JAX takes by default.
_DEVICES_GB = (8, 12, 16, 24, 32, 40, 48, 80)
_SHARE = 0.75
_WORKSPACE_GB = 1

_HEADER = (
    *("dtype", "remat", "peak at", "micro_batches", "parameters, momentum", "gradients"),
    *("kernels' copies", "activations", "sum", "device"),
)
_LEGEND = (
    "Not counted: a library's workspace, copies in other layouts, and padding (a TPU pads 64 "
    "channels to 128).",
    "If the sum is too large: micro_batches divides the activations, but adds a second set of "
    "gradients.",
    "remat saves little, because the backward pass of the first block alone has three tensors of "
    "full size.",
)
_DEVICE_LEGEND = (
    "Device: the smallest on which JAX's share, three quarters of a GPU, has room for the step and "
    f"{_WORKSPACE_GB} GB more."
)


def table(spec: NetSpec, step: StepSpec) -> str:
    """Writes a text table of the memory that a training step is predicted to take on a device.

    Args:
      spec: A net, for one row per setting with the parts of its memory; or "all", for one row per
        net.
      step: Its batch is the number of images on one device. If its dtype, micro_batches or remat is
        None, the table shows both dtypes, several divisors of the batch, or steps with and without
        remat.

    Raises:
      ValueError: See `architectures.layers` and `memory.training_step`.
    """
    if spec.net == "all":
        shown = _shown(step, (1, 4))
        header = ("net", *map(_short, shown))
        rows = [
            (
                name,
                *(_gb(_predict(dataclasses.replace(spec, net=name), one).total) for one in shown),
            )
            for name in architectures.NETS
        ]
        lines = [*text_table.align(header, rows, num_text_columns=1), "", *_LEGEND]
    else:
        rows = [_row(one, _predict(spec, one)) for one in _shown(step, (1, 2, 4, 8))]
        lines = [*text_table.align(_HEADER, rows, num_text_columns=3), "", _DEVICE_LEGEND, *_LEGEND]
    title = (
        f"{spec.net if spec.net != 'all' else 'All nets'}: memory of a training step, predicted, "
        f"in GB (10^9 bytes): {step.batch:,} images per device, width {spec.width:g}, "
        f"{spec.crop_px} px crop"
    )
    return "\n".join([title, "", *lines])


def _shown(step: StepSpec, numbers_of_parts: Sequence[int]) -> list[StepSpec]:
    """Lists the steps to show. Values that `step` has are kept; those that are None are filled."""
    if step.micro_batches is None:
        parts = [number for number in numbers_of_parts if step.batch % number == 0]
    else:
        parts = [step.micro_batches]
    if step.remat is None:
        settings = [(parts[0], False), (parts[0], True), *((number, False) for number in parts[1:])]
    else:
        settings = [(number, step.remat) for number in parts]
    dtypes = [step.dtype] if step.dtype else list(memory.DTYPES)
    return [
        StepSpec(step.batch, dtype, micro_batches, remat)
        for dtype, (micro_batches, remat) in itertools.product(dtypes, settings)
    ]


def _predict(spec: NetSpec, step: StepSpec) -> memory.Memory:
    return memory.training_step(spec.layers(), spec.crop_px, **dataclasses.asdict(step))


def _row(step: StepSpec, peak: memory.Memory) -> tuple[str, ...]:
    sizes = (peak.state, peak.gradients, peak.rounded_kernels, peak.activations, peak.total)
    return (
        *(step.dtype, "on" if step.remat else "off", peak.layer, f"{step.micro_batches}"),
        *(*map(_gb, sizes), _device(peak.total)),
    )


def _short(step: StepSpec) -> str:
    parts = f", {step.micro_batches} parts" if step.micro_batches > 1 else ""
    return f"{step.dtype}{', remat' if step.remat else ''}{parts}"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f}"


def _device(num_bytes: int) -> str:
    for size_gb in _DEVICES_GB:
        if num_bytes / 1e9 + _WORKSPACE_GB <= _SHARE * size_gb:
            return f"{size_gb} GB"
    return f"over {_DEVICES_GB[-1]} GB"
