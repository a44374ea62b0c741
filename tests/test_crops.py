"""A batch depends on (source, seed, step) alone, not on workers, shards or resuming."""

import contextlib
import itertools
import multiprocessing
import re

import numpy as np
import opened
import pytest
from PIL import Image

from vgg_jax.data import crops, images
from vgg_jax.data.prefetch import Shard
from vgg_jax.errors import UserError

NUM_IMAGES = 12
CROP_PX = 32


pytestmark = pytest.mark.usefixtures("parsed_flags")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Each image has its own class and brightness, with noise that tells positions apart."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label in range(NUM_IMAGES):
        height, width = rng.integers(40, 90, 2)
        pixels = 20 * label + rng.integers(0, 16, (height, width, 3))
        path = root / "train" / f"{label:02d}" / "image.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return opened.folder(root, "train")


def _train(source, num_batches, *, seed=0, start_step=0, **batching):
    batching = crops.Batching(**{"batch_size": 4, "crop_px": CROP_PX} | batching)
    made = crops.train_batches(
        source, batching, train_scale=(36, 48), seed=seed, start_step=start_step
    )
    with contextlib.closing(made) as batches:
        return list(itertools.islice(batches, num_batches))


def _val(source, num_batches, **batching):
    batching = crops.Batching(**{"batch_size": 5, "crop_px": CROP_PX} | batching)
    with contextlib.closing(crops.val_batches(source, batching, val_scale=36)) as batches:
        return list(itertools.islice(batches, num_batches))


def _assert_equal(batches, expected):
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys()
        for name in other:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


def _joined(shards):
    """Joins shards into batches: block i is shard i's, as in the devices' global batch."""
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shards, strict=True)
    ]


def _labels(batches):
    return np.concatenate([batch["label"] for batch in batches]).tolist()


# Training.


def test_a_training_batch_is_of_uint8_crops_with_their_labels(source):
    for batch in _train(source, 6):
        assert batch.keys() == {"image", "label"}
        assert batch["image"].shape == (4, CROP_PX, CROP_PX, 3)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].dtype == np.int32
        brightness = batch["image"].mean((1, 2, 3))
        np.testing.assert_array_equal(np.floor(brightness / 20), batch["label"])


@pytest.mark.parametrize(("num_workers", "start_step"), [(1, 0), (2, 2)])
def test_training_batches_do_not_depend_on_workers(source, num_workers, start_step):
    expected = _train(source, 8)[start_step:]
    found = _train(source, 8 - start_step, num_workers=num_workers, start_step=start_step)
    _assert_equal(found, expected)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("count", [2, 4])
def test_training_shards_make_up_the_whole(source, count):
    shards = [_train(source, 5, shard=Shard(i, count)) for i in range(count)]
    assert shards[0][0]["label"].shape == (4 // count,)
    _assert_equal(_joined(shards), _train(source, 5))


@pytest.mark.parametrize("step", [1, 3, 7])
def test_training_resumes_at_any_step(source, step):
    _assert_equal(_train(source, 9 - step, start_step=step), _train(source, 9)[step:])


def test_a_shard_resumes_at_any_step(source):
    shard = Shard(1, 2)
    resumed = _train(source, 4, start_step=5, shard=shard)
    _assert_equal(resumed, _train(source, 9, shard=shard)[5:])


def test_every_epoch_has_every_image_once_in_a_new_order(source):
    batches = _train(source, 9)
    epochs = [_labels(batches[i : i + 3]) for i in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(NUM_IMAGES))] * 3
    assert len({tuple(epoch) for epoch in [*epochs, range(NUM_IMAGES)]}) == 4


def test_every_epoch_has_new_crops(source):
    batches = _train(source, 6)
    crops = np.concatenate([batch["image"] for batch in batches])
    labels = np.array(_labels(batches))
    for label in range(NUM_IMAGES):
        first, second = crops[labels == label]
        assert (first != second).any()


def test_no_image_is_left_out_where_the_batch_does_not_divide(source):
    labels = _labels(_train(source, 12, batch_size=5))
    epochs = [labels[i : i + NUM_IMAGES] for i in range(0, 60, NUM_IMAGES)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(NUM_IMAGES))] * 5


def test_a_batch_may_be_larger_than_the_source(source):
    (batch,) = _train(source, 1, batch_size=24)
    assert sorted(batch["label"]) == sorted(2 * list(range(NUM_IMAGES)))


def test_the_seed_changes_order_and_crops(source):
    zero, one = (_train(source, 3, seed=seed) for seed in (0, 1))
    assert _labels(zero) != _labels(one)
    crops = [
        dict(zip(_labels(b), np.concatenate([x["image"] for x in b]), strict=True))
        for b in (zero, one)
    ]
    assert any((crops[0][label] != crops[1][label]).any() for label in range(NUM_IMAGES))


# Validation.


@pytest.mark.parametrize(
    ("num_images", "batch_size", "expected"), [(1, 5, 1), (5, 5, 1), (6, 5, 2), (50_000, 256, 196)]
)
def test_the_last_validation_batch_counts(num_images, batch_size, expected):
    assert crops.num_val_batches(num_images, batch_size) == expected


@pytest.mark.parametrize("batch_size", [1, 4, 5, 12, 16])
def test_validation_has_every_image_once(source, batch_size):
    num_batches = crops.num_val_batches(NUM_IMAGES, batch_size)
    batches = _val(source, num_batches, batch_size=batch_size)
    assert {len(batch["weight"]) for batch in batches} == {batch_size}
    image, label, weight = (
        np.concatenate([batch[name] for batch in batches]) for name in ("image", "label", "weight")
    )
    assert (image.dtype, label.dtype, weight.dtype) == (np.uint8, np.int32, np.float32)
    assert set(weight.tolist()) <= {0.0, 1.0}
    assert label[weight == 1].tolist() == list(range(NUM_IMAGES))
    assert not image[weight == 0].any()
    for i, crop in zip(label[weight == 1], image[weight == 1], strict=True):
        whole = images.decode(source[int(i)].image)
        np.testing.assert_array_equal(crop, images.centre_crop(whole, 36, CROP_PX))


@pytest.mark.parametrize(("count", "batch_size"), [(2, 8), (4, 8), (8, 8)])
def test_validation_shards_have_equally_many_batches(source, count, batch_size):
    # The second batch holds four images, so that some of its shards are all padding.
    whole = _val(source, 4, batch_size=batch_size)
    shards = [_val(source, 4, batch_size=batch_size, shard=Shard(i, count)) for i in range(count)]
    _assert_equal(_joined(shards), whole)
    assert sum(batch["weight"].sum() for shard in shards for batch in shard[:2]) == NUM_IMAGES


def test_validation_passes_are_the_same(source):
    batches = _val(source, 9)
    _assert_equal(batches[3:6], batches[:3])
    _assert_equal(batches[6:], batches[:3])


def test_validation_does_not_depend_on_workers(source):
    # With three batches per pass on two workers, a pass may begin on either worker.
    _assert_equal(_val(source, 7, num_workers=2), _val(source, 7))
    assert not multiprocessing.active_children()


# Damaged files.


@pytest.fixture
def damaged(tmp_path):
    for name in "abcd":
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (40, 50)).save(tmp_path / "train" / name / "1.png")
    (tmp_path / "train/c/1.png").write_bytes(b"no image")
    return opened.folder(tmp_path, "train"), str(tmp_path / "train/c/1.png")


@pytest.mark.parametrize("read", [_train, _val])
def test_an_undecodable_file_is_named(damaged, read):
    source, path = damaged
    with pytest.raises(UserError, match=f"{re.escape(path)} is not a readable image"):
        read(source, 4)


def test_an_undecodable_file_is_named_through_a_worker_process(damaged):
    source, path = damaged
    with pytest.raises(UserError, match=f"{re.escape(path)} is not a readable image"):
        _train(source, 4, num_workers=1)
    assert not multiprocessing.active_children()
