"""`vgg_jax.analysis.varied_channels`: the channels that are worth looking at."""

import numpy as np

from vgg_jax.analysis import varied_channels

ROWS, COLUMNS = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")


def test_a_copy_of_a_strong_channel_comes_after_a_weak_one_of_another_kind():
    maps = np.stack([ROWS, 3 * COLUMNS, 2.9 * COLUMNS], axis=-1)
    assert varied_channels.choose(maps, 3).tolist() == [1, 0, 2]
    assert varied_channels.choose(maps, 2).tolist() == [1, 0]


def test_constant_channels_are_never_chosen():
    maps = np.stack([np.full_like(ROWS, 9), ROWS, np.zeros_like(ROWS)], axis=-1)
    assert varied_channels.choose(maps, 3).tolist() == [1]
