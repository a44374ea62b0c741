"""Dense evaluation in PyTorch: the net on whole images and their flips, without padding."""

import concurrent.futures
from typing import Any

import numpy as np
import torch

from launch.benchmark import photos
from launch.benchmark.case import Case
from launch.benchmark.sides import process, torch_device, torch_net

THREADS = 4  # This code makes its batches in as many.


def measure(
    case: dict[str, Any],
    images: dict[str, Any],
    timing: dict[str, Any],
    out: str,
    platform: str,
    batch: int,
) -> dict[str, Any]:
    """Times passes over all images: see `jax_dense.measure`.

    Args:
      case, images, timing, out: See there.
      platform: That of JAX, "cpu" or "gpu".
      batch: The most images in a batch, all of one size.
    """
    case = Case(**case)
    device = torch_device.prepare(platform, tf32=False)  # See `Inference.precision`.
    net = torch_net.for_inference(case, device, dense=True)
    pixels = [np.asarray(image) for image in photos.photos(**images)]
    batches = _of_one_size(pixels, batch)
    values: list[np.ndarray] = []

    def stacked(indices: list[int]) -> torch.Tensor:
        both = torch.from_numpy(np.stack([pixels[index] for index in indices]))
        return both.pin_memory() if device.type == "cuda" else both

    @torch.inference_mode()
    def run() -> None:
        found = []
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for each in pool.map(stacked, batches):
                each = each.to(device, non_blocking=True)
                scores = net(torch.cat([each, each.flip(2)]))
                found.append(scores.softmax(dim=1).reshape(2, len(each), -1).mean(dim=0))
        order = np.argsort(np.concatenate(batches))
        values[:] = [torch.cat(found).cpu().numpy()[order]]

    warm_up_s, seconds = process.timed(run, **timing)
    np.save(out, values[0])
    shapes = {(len(indices), *pixels[indices[0]].shape) for indices in batches}
    return {"seconds": seconds, "warm_up_s": warm_up_s, "shapes": len(shapes), "padding": 0.0}


def _of_one_size(pixels: list[np.ndarray], batch: int) -> list[list[int]]:
    """Groups the indices of images into batches of one size."""
    of_size: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(pixels):
        of_size.setdefault(image.shape, []).append(index)
    return [
        indices[begin : begin + batch]
        for indices in of_size.values()
        for begin in range(0, len(indices), batch)
    ]


if __name__ == "__main__":
    process.run(measure, without=("jax", "flax"))
