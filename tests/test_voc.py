"""VOC's folders, made small: what is read, and what is refused."""

import numpy as np
import pytest
import small_runs
from image_bytes import encoded
from PIL import Image

from vgg_jax.data import pooled, splits
from vgg_jax.data.source import Subset
from vgg_jax.data.specs import DataSpec
from vgg_jax.data.voc import open_voc
from vgg_jax.errors import UserError

LABELS = {
    "train": {"cat": {"01": 1, "02": -1}, "dog": {"01": -1, "02": 1}},
    "val": {
        "cat": {"03": 1, "04": 0, "07": -1, "08": -1},
        "dog": {"03": 1, "04": -1, "07": 1, "08": -1},
    },
    "test": {"cat": {"05": 1, "06": -1}, "dog": {"05": -1, "06": 1}},
}


def jpeg(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG")


def made(root, sets=("train", "val", "test"), **changed):
    """Writes a folder of VOC with two classes; `changed` replaces texts of image sets."""
    files = {f"JPEGImages/{i:02}.jpg": jpeg(i) for i in range(1, 9)}
    for of_set in sets:
        for name, labels in LABELS[of_set].items():
            lines = "".join(f"{image} {label:2}\n" for image, label in labels.items())
            files[f"ImageSets/Main/{name}_{of_set}.txt"] = changed.get(
                f"{name}_{of_set}", lines
            ).encode()
    files["ImageSets/Main/train.txt"] = b"01\n02\n"  # VOC has these too.
    return small_runs.fill(root, files)


def test_train_and_val_are_trained_on_where_there_is_a_test_set(tmp_path):
    found = open_voc(str(made(tmp_path)))
    assert (found.class_names, found.train_set, found.test_set) == (
        ("cat", "dog"), "train+val", "test",
    )  # fmt: skip
    assert [found.source.name(i) for i in range(8)] == [f"{i:02}.jpg" for i in range(1, 9)]
    np.testing.assert_array_equal(
        found.labels,
        [[1, -1], [-1, 1], [1, 1], [0, -1], [1, -1], [-1, 1], [-1, 1], [-1, -1]],
    )
    assert [i for i in range(8) if found.is_test[i]] == [4, 5]


def test_val_is_the_test_set_where_there_is_no_other(tmp_path):
    found = open_voc(str(made(tmp_path, ("train", "val"))))
    assert (found.train_set, found.test_set, len(found.source)) == ("train", "val", 6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cat_test": "05 1\n06 2\n"}, r"cat_test.txt:2: '06 2' is not an image's name"),
        ({"cat_test": "05 1\n"}, "name different images: 06"),
        ({"cat_test": "01 1\n06 1\n", "dog_test": "01 1\n06 1\n"}, "in the test set of .*: 01"),
        ({"cat_test": "05 1\n99 1\n", "dog_test": "05 1\n99 1\n"}, "lacks these images: 99"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        open_voc(str(made(tmp_path, **changed)))


def test_a_folder_that_is_not_vocs_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no image sets of VOC"):
        open_voc(str(tmp_path))


@pytest.mark.runs
def test_svms_are_trained_on_it_by_the_command(trained, tmp_path):
    pytest.importorskip("sklearn")
    root = made(tmp_path / "VOC2007")
    done = small_runs.run_module(
        "vgg_jax.features", trained, f"--data={root}", "--svm", "--protocol=voc", "--layer=pool3"
    )
    assert done.returncode == 0, done.stderr
    assert "VOC's protocol: trained on train+val, tested on test" in done.stdout
    assert "cat" in done.stdout


def test_splits_are_offered_only_where_they_can_be_given(folder):
    alone = f"lie one folder deeper, in train, val. Give one of them, {folder}/train"
    for given, ending in (((), ", or the splits: --split=train,val."), (None, ".")):
        with pytest.raises(UserError) as error:
            pooled.open_images(str(folder), given)
        assert str(error.value).endswith(f"{alone}{ending}")


def test_pooled_splits_keep_their_names_and_labels(folder):
    source = pooled.open_images(str(folder), ("train", "val"))
    parts = [pooled.open_images(str(folder), (split,)) for split in ("train", "val")]
    assert len(source) == 17 + 9
    names = [source.name(i) for i in range(len(source))]
    assert names == [f"{s}/{p.name(i)}" for s, p in zip(("train", "val"), parts, strict=True)
                     for i in range(len(p))]  # fmt: skip
    assert [source.label(i) for i in range(26)] == [
        p.label(i) for p in parts for i in range(len(p))
    ]
    assert source[17].image == parts[1][0].image


def test_images_that_a_run_was_trained_on_are_recognised(folder):
    both = pooled.open_images(str(folder), ("train", "val"))
    val = pooled.open_images(str(folder), ("val",))
    for held_out in (0, 4):
        data = DataSpec("folder", str(folder), "train", "val", "", held_out=held_out, seed=3)
        train, _ = splits.open_sources(data)
        assert pooled.holds(both, train.fingerprint, held_out, 3)
        assert not pooled.holds(val, train.fingerprint, held_out, 3)

        undecodable = train.name(1)
        decodable = [i for i in range(len(train)) if train.name(i) != undecodable]
        left = Subset(train, np.array(decodable)).fingerprint
        rest = [i for i in range(len(both)) if both.name(i) != f"train/{undecodable}"]
        assert pooled.holds(Subset(both, np.array(rest)), left, held_out, 3)
        assert not pooled.holds(both, left, held_out, 3)
