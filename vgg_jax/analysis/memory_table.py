"""Writes the predicted memory of a training step as text: see `vgg_jax.describe --batch`."""

import itertools
from collections.abc import Sequence

from vgg_jax.analysis import memory, text_table
from vgg_jax.nets import architectures

# Sizes in which GPUs and TPUs come, and the share of a GPU that JAX takes unless told otherwise.
_DEVICES_GB = (8, 12, 16, 24, 32, 40, 48, 80)
_SHARE = 0.75
_WORKSPACE_GB = 1

_HEADER = (
    *("dtype", "remat", "peak at", "micro_batches", "parameters, momentum", "gradients"),
    *("kernels' copies", "activations", "sum", "device"),
)
_LEGEND = (
    "Not counted: a library's workspace, copies in other layouts, padding (a TPU's, of 64 channels "
    "to 128).",
    "Too large? micro_batches divides the activations, for a second set of gradients. remat of "
    "blocks saves",
    "little: on its way back the first block alone has three tensors of its full size.",
)
_DEVICE_LEGEND = (
    "Device: the smallest where JAX's share, three quarters of a GPU, has room for the step and "
    f"{_WORKSPACE_GB} GB more."
)


def table(
    net: str,
    batch: int,
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    crop_px: int = 224,
    dtype: memory.DType | None = None,
    micro_batches: int | None = None,
    remat: bool | None = None,
) -> str:
    """Writes a text table of the memory that a training step is predicted to take on a device.

    Args:
      net: One of `architectures.NETS` for a row a setting with its parts, or "all" for a row a net.
      batch: Images a step on one device.
      num_classes: Outputs of FC8.
      width: Multiplies every number of channels but the input's and FC8's.
      crop_px: Side of the training crop.
      dtype: Of the arithmetic; None for both.
      micro_batches: See `memory.training_step`; None for some that divide the batch.
      remat: See `vgg.VGG`; None for some settings with and some without.

    Raises:
      ValueError: See `architectures.layers` and `memory.training_step`.
    """
    dtypes = [dtype] if dtype else list(memory.DTYPES)

    def predict(name: str, dtype: memory.DType, setting: tuple[int, bool]) -> memory.Memory:
        layers = architectures.layers(name, num_classes=num_classes, width=width, crop_px=crop_px)
        return memory.training_step(
            layers, crop_px, batch, dtype=dtype, micro_batches=setting[0], remat=setting[1]
        )

    if net == "all":
        choices = list(itertools.product(dtypes, _settings(batch, (1, 4), micro_batches, remat)))
        header = ("net", *(_short(*choice) for choice in choices))
        rows = [
            (name, *(_gb(predict(name, *choice).total) for choice in choices))
            for name in architectures.NETS
        ]
        lines = [*text_table.align(header, rows, num_text_columns=1), "", *_LEGEND]
    else:
        settings = _settings(batch, (1, 2, 4, 8), micro_batches, remat)
        rows = [
            _row(*choice, predict(net, *choice)) for choice in itertools.product(dtypes, settings)
        ]
        lines = [*text_table.align(_HEADER, rows, num_text_columns=3), "", _DEVICE_LEGEND, *_LEGEND]
    title = (
        f"{net if net != 'all' else 'All nets'}: memory of a training step, predicted, in GB "
        f"(10^9 bytes): {batch:,} images a device, width {width:g}, {crop_px} px crop"
    )
    return "\n".join([title, "", *lines])


def _row(dtype: str, setting: tuple[int, bool], peak: memory.Memory) -> tuple[str, ...]:
    micro_batches, remat = setting
    sizes = (peak.state, peak.gradients, peak.rounded_kernels, peak.activations, peak.total)
    return (
        *(dtype, "on" if remat else "off", peak.layer, f"{micro_batches}"),
        *(*map(_gb, sizes), _device(peak.total)),
    )


def _settings(
    batch: int, choices: Sequence[int], micro_batches: int | None, remat: bool | None
) -> list[tuple[int, bool]]:
    """Lists settings of micro_batches and remat to show; what is given is kept to."""
    if micro_batches is None:
        parts = [number for number in choices if batch % number == 0]
    else:
        parts = [micro_batches]
    if remat is not None:
        return [(number, remat) for number in parts]
    return [(parts[0], False), (parts[0], True), *((number, False) for number in parts[1:])]


def _short(dtype: str, setting: tuple[int, bool]) -> str:
    micro_batches, remat = setting
    parts = f", {micro_batches} parts" if micro_batches > 1 else ""
    return f"{dtype}{', remat' if remat else ''}{parts}"


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f}"


def _device(num_bytes: int) -> str:
    for size_gb in _DEVICES_GB:
        if num_bytes / 1e9 + _WORKSPACE_GB <= _SHARE * size_gb:
            return f"{size_gb} GB"
    return f"over {_DEVICES_GB[-1]} GB"
