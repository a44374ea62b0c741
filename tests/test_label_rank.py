"""The rank of a label, with NumPy's arrays and with JAX's."""

import jax.numpy as jnp
import numpy as np
import pytest

from vgg_jax.nets.label_rank import label_rank


@pytest.mark.parametrize(
    ("scores", "label", "rank"),
    [
        ([3.0, 2.0, 1.0], 0, 0),
        ([3.0, 2.0, 1.0], 2, 2),
        ([1.0, 1.0, 1.0], 0, 0),  # The lower class of equal scores ranks higher.
        ([1.0, 1.0, 1.0], 2, 2),
        ([np.nan, np.nan, np.nan], 0, 3),  # A diverged net is never right.
        ([np.nan, 2.0, 1.0], 1, 3),
        ([np.inf, 2.0, 1.0], 0, 3),
    ],
)
@pytest.mark.parametrize("xp", [np, jnp])
def test_label_rank(xp, scores, label, rank):
    result = label_rank(xp.array([scores]), xp.array([label]))
    assert result.tolist() == [rank]


@pytest.mark.parametrize("xp", [np, jnp])
def test_top5_with_fewer_than_five_classes_is_always_right(xp):
    rank = label_rank(xp.array([[1.0, 2.0, 3.0]]), xp.array([0]))
    assert not (rank >= 5).any()
