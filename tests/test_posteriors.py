"""Files of posteriors: how they are saved, averaged and refused."""

import dataclasses

import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors, resumable_pass
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import ResultKey

NAMES = ("ant/a photo.jpg", "größe/ünï 日本.jpg", 'zebra/"0, 1".PNG', r"zebra/\xff.jpg")
CLASSES = ("ant", "größe", "zebra, plains")
IDENTITY = {"parameters": "abc", "images": "def", "dtype": "float32", "mean_rgb": [1.5, 2.0, 0.1]}


def _made(seed=0, method="dense", scale=256, **changes):
    values = np.random.default_rng(seed).dirichlet(np.ones(3), 4).astype(np.float32)
    identity = IDENTITY | {"method": method, "scale": scale}
    made = Posteriors(
        NAMES, np.array([0, 1, 2, -1], np.int32), CLASSES, values, {"identity": identity}
    )
    return dataclasses.replace(made, **changes)


# Files.


def test_what_is_saved_is_loaded(tmp_path):
    made = _made()
    path = tmp_path / "run" / "eval" / "it.npz"
    made.save(path)
    loaded = posteriors.read(path)
    assert (loaded.names, loaded.class_names) == (NAMES, CLASSES)
    assert loaded.made_by == made.made_by
    for ours, theirs in ((made.labels, loaded.labels), (made.values, loaded.values)):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert [file.name for file in path.parent.iterdir()] == ["it.npz"]


def test_a_save_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "it.npz"
    _made().save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        _made(made_by={"identity": object()}).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["it.npz"]


def test_posteriors_of_a_split_are_of_the_same_images_at_any_scale(tmp_path):
    def save(names, split):
        made_by = {"identity": IDENTITY, "data": {"split": split}}
        _made(names=names, made_by=made_by).save(tmp_path / f"eval/{split}-dense-256.npz")

    def check(names, split, fingerprint="other"):
        key = ResultKey(split, "dense", (384,))
        resumable_pass.refuse_other_images(tmp_path, key, names, fingerprint)

    ilsvrcs = tuple(f"n00000001/n00000001_{i}.JPEG" for i in range(4))
    save(NAMES, "val")
    save(NAMES, "val-more")
    save(ilsvrcs, "validation")
    (tmp_path / "eval/val-dense-512.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"eval holds .* other images: val-dense-256.npz\."):
        check(NAMES, "val")
    check(NAMES, "val", IDENTITY["images"])
    check(NAMES, "test")
    check(tuple(name.split("/")[1] for name in ilsvrcs[::-1]), "validation")  # Another form.
    with pytest.raises(UserError, match="other images"):
        check(ilsvrcs[:3], "validation")


@pytest.mark.parametrize(
    ("labels", "labelled"), [([0, 1, 2, 0], True), ([0, 1, 2, -1], False), ([-1] * 4, False)]
)
def test_labelled_means_every_image(labels, labelled):
    assert _made(labels=np.array(labels, np.int32)).is_labelled == labelled


def _cut(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])


def _without_a_key(path):
    np.savez(path, names=np.array(NAMES), labels=np.zeros(4, np.int32))


def _an_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _with_bytes_changed(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


DAMAGE = {
    "empty": lambda path: _cut(path, 0),
    "cut early": lambda path: _cut(path, 0.1),
    "cut late": lambda path: _cut(path, 0.99),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "changed": _with_bytes_changed,
    "text": lambda path: path.write_text('{"top1_error": 3}'),
    "an array": _an_array,
    "other arrays": _without_a_key,
}


def test_what_made_a_file_is_read_without_its_values(tmp_path):
    path = tmp_path / "it.npz"
    made = _made()
    made.save(path)
    assert posteriors.read_made_by(path) == posteriors.read(path).made_by
    _cut(path, 0.5)
    with pytest.raises(UserError, match="not a complete file of posteriors"):
        posteriors.read_made_by(path)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "it.npz"
    _made().save(path)
    damage(path)
    with pytest.raises(UserError) as caught:
        posteriors.read(path)
    assert str(caught.value).startswith(f"{path} is not a complete file of posteriors")
    assert "Remove it" in str(caught.value)


# Averages.


def test_an_average_is_the_mean_with_equal_weights():
    parts = {f"run {seed}": _made(seed) for seed in range(3)}
    average = posteriors.average(parts)
    exact = sum(part.values.astype(np.float64) for part in parts.values()) / 3
    assert average.values.dtype == np.float64
    np.testing.assert_allclose(average.values, exact, rtol=1e-15)
    assert (average.names, average.class_names) == (NAMES, CLASSES)
    assert average.labels.tolist() == [0, 1, 2, -1]
    assert list(average.made_by["average_of"]) == list(parts)


def test_the_average_of_one_is_itself():
    np.testing.assert_array_equal(posteriors.average({"it": _made()}).values, _made().values)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"names": ("ant/a photo.jpg", "b.jpg", *NAMES[2:])},
            "their images differ (the first at 1: größe/ünï 日本.jpg and b.jpg)",
        ),
        (
            {
                "names": NAMES[:2],
                "labels": np.zeros(2, np.int32),
                "values": np.full((2, 3), 1 / 3, np.float32),
            },
            "their images differ (4 and 2)",
        ),
        (
            {"labels": np.array([0, 1, 0, 1], np.int32)},
            "their labels differ (the first at 2: 2 and 0)",
        ),
        ({"class_names": ("ant", "bee", "cow")}, "classes differ (the first at 1: größe and bee)"),
        (
            {"class_names": ("ant", "bee"), "values": np.full((4, 2), 0.5, np.float32)},
            "their classes differ (3 and 2)",
        ),
    ],
)
def test_an_average_of_what_differs_is_refused(changes, says):
    with pytest.raises(UserError) as caught:
        posteriors.average({"A": _made(0), "B": _made(1), "C": _made(2, **changes)})
    assert str(caught.value).startswith("A and C can't be averaged")
    assert says in str(caught.value)


def test_methods_weigh_the_same_whatever_the_number_of_scales():
    dense = {256: _made(0, scale=256)}
    crops = {q: _made(q, "multicrop", q) for q in (256, 384, 512)}
    both = posteriors.combine({"dense": dense, "multicrop": crops})
    of_crops = np.mean([part.values.astype(np.float64) for part in crops.values()], axis=0)
    np.testing.assert_allclose(both.values, (dense[256].values + of_crops) / 2, rtol=1e-14)


@pytest.mark.parametrize(
    ("ours", "theirs", "differing"),
    [
        ({}, {"parameters": "other"}, "parameters"),
        ({}, {"images": "other", "dtype": "bfloat16"}, "images, dtype"),
        ({}, {"new": 1}, "new"),
        ({"new": 1}, {}, "new"),
    ],
)
def test_what_was_made_differently_is_not_combined(ours, theirs, differing):
    first, second = (
        _made(made_by={"identity": IDENTITY | more | {"scale": q}})
        for q, more in ((256, ours), (384, theirs))
    )
    with pytest.raises(UserError) as caught:
        posteriors.combine({"dense": {256: first, 384: second}})
    assert (
        "dense at Q = 256 and dense at Q = 384 can't be averaged: they were made with different "
        f"{differing}. "
    ) in str(caught.value)


def test_the_same_images_in_two_orders_have_the_same_average():
    a, b = _made(0), _made(1)
    order = [2, 0, 3, 1]
    names = tuple(b.names[k] for k in order)
    mixed = dataclasses.replace(b, names=names, labels=b.labels[order], values=b.values[order])
    average = posteriors.average({"a": a, "b": mixed})
    assert average.names == NAMES
    assert average.labels.tolist() == a.labels.tolist()
    mean = (a.values.astype(np.float64) + b.values) / 2
    np.testing.assert_array_equal(average.values, mean)
    wrong = dataclasses.replace(mixed, labels=b.labels)
    with pytest.raises(UserError, match="their labels differ"):
        posteriors.average({"a": a, "b": wrong})
    twice = (*names[:3], names[0])
    with pytest.raises(UserError, match="their images differ"):
        posteriors.average({"a": a, "b": dataclasses.replace(mixed, names=twice)})
