"""The order of images that are stored in blocks: each once per epoch, few blocks at a time."""

import made_parquet
import numpy as np
import opened
import pytest
import small_runs
from hypothesis import given
from hypothesis import strategies as st

from vgg_jax.data import shuffle
from vgg_jax.data.imagenet.parquet import ParquetSource
from vgg_jax.data.specs import DataSpec


def _order(starts, num_images, seed=0):
    return shuffle.order_in_blocks(np.array(starts), num_images, np.random.default_rng(seed))


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=20), seed=st.integers(0, 2**32 - 1)
)
def test_every_image_comes_once(lengths, seed):
    starts = np.cumsum(lengths) - lengths
    order = _order(starts, sum(lengths), seed)
    assert sorted(order.tolist()) == list(range(sum(lengths)))


def _blocks(order, rows):
    return order // rows


def test_a_block_is_read_once_for_each_of_its_pieces():
    order = _order(np.arange(0, 200_000, 100), 200_000)
    reads = 1 + np.count_nonzero(np.diff(_blocks(order, 100)))
    assert 0.99 * shuffle.PIECES * 2000 < reads <= shuffle.PIECES * 2000


@pytest.mark.parametrize("place", [0, 100_000, 199_744])
def test_a_batch_has_images_of_many_blocks(place):
    order = _order(np.arange(0, 200_000, 100), 200_000)
    blocks = np.unique(_blocks(order[place : place + 256], 100))
    assert len(blocks) >= 256 // (100 // shuffle.PIECES) - 2


def test_the_images_of_a_block_lie_within_the_window():
    order = _order(np.arange(0, 200_000, 100), 200_000)
    places = np.argsort(order).reshape(-1, 100)
    spread = places.max(axis=1) - places.min(axis=1)
    assert spread.max() < 1.5 * shuffle.WINDOW_IMAGES
    assert np.median(spread) > 0.5 * shuffle.WINDOW_IMAGES


def test_blocks_of_one_image_are_shuffled_as_a_whole():
    order = _order(np.arange(5000), 5000)
    assert np.abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.1
    assert np.abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.1


def test_another_generator_gives_another_order():
    starts = np.arange(0, 1000, 100)
    assert _order(starts, 1000).tolist() == _order(starts, 1000).tolist()
    assert _order(starts, 1000).tolist() != _order(starts, 1000, seed=1).tolist()


def test_image_files_keep_the_order_that_they_had(tmp_path):
    """Runs resume by this order, which is Grain's."""
    source = opened.folder(small_runs.small_images(tmp_path, train=12), "train")
    order = shuffle.endless(source, 7)
    assert [int(order[place]) for place in range(24)] == [
        7,
        9,
        0,
        8,
        4,
        2,
        11,
        6,
        10,
        1,
        3,
        5,
        6,
        11,
        4,
        2,
        7,
        9,
        1,
        10,
        8,
        3,
        5,
        0,
    ]


@pytest.mark.parametrize("is_sorted", [True, False])
def test_blocks_of_few_classes_are_told(tmp_path, is_sorted):
    labels = np.repeat(np.arange(40), 50)
    if not is_sorted:
        labels = np.random.default_rng(0).permutation(labels)
    made_parquet.write(
        tmp_path / "train-00000-of-00001.parquet",
        [(b"", f"{k}.png") for k in range(len(labels))],
        labels,
        names=[f"{k:02}" for k in range(40)],
        rows_per_group=100,
    )
    source = ParquetSource(DataSpec("", str(tmp_path), "train", "", ""), "train")
    text = shuffle.warning(source, seed=0)
    assert is_sorted == text.startswith("Batches are poorly mixed: 256 images have ")
    assert is_sorted == bool(text)


def test_image_files_are_mixed(tmp_path):
    source = opened.folder(small_runs.small_images(tmp_path, train=12), "train")
    assert shuffle.warning(source, seed=0) == ""
