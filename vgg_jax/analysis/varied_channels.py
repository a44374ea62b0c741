"""Chooses channels of a layer that are worth looking at."""

import numpy as np
from jaxtyping import Float, Int


def choose(maps: Float[np.ndarray, "h w c"], count: int) -> Int[np.ndarray, " k"]:
    """Chooses channels that vary much over the image and are unlike each other.

    The first is the channel with the largest standard deviation. Each further one has the largest
    standard deviation times (1 - r), where r is its largest correlation with those before it.

    Args:
      maps: A layer's values for one image.
      count: The number of channels to choose.

    Returns:
      The channels' indices, fewer than `count` where the layer has fewer channels that vary.
    """
    channels = maps.reshape(-1, maps.shape[-1])
    centred = channels - channels.mean(axis=0)
    deviation = centred.std(axis=0)
    unit = centred / np.where(deviation == 0, 1, deviation) / len(channels) ** 0.5
    chosen: list[int] = []
    likeness = np.zeros(len(deviation))
    for _ in range(min(count, int((deviation > 0).sum()))):
        worth = deviation * (1 - likeness)
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
        likeness = np.maximum(likeness, unit.T @ unit[:, chosen[-1]])
    return np.array(chosen, int)
