"""What an evaluation writes: errors as JSON, or the top classes of unlabelled images as CSV."""

import csv
import json

import numpy as np
import pytest

from vgg_jax.evaluation import results, topk
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.storage import sealed_json

CLASSES = ("ant", "größe", 'say "bee", twice', "cow", "dog", "eel, electric", "fly")
NAMES = ("a photo.jpg", "ünï 日本.jpg", 'one, "two".png', r"\xff.jpg")
VALUES = np.array(
    [
        [0.40, 0.20, 0.15, 0.10, 0.07, 0.05, 0.03],
        [0.03, 0.05, 0.07, 0.10, 0.15, 0.20, 0.40],
        [0.10, 0.10, 0.10, 0.40, 0.10, 0.10, 0.10],
        [1 / 7] * 7,
    ],
    np.float32,
)


def _made(labels, values=VALUES, classes=CLASSES):
    return Posteriors(NAMES, np.array(labels, np.int32), classes, values, {"by": "hand"})


UNLABELLED = [-1] * 4


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run" / "eval" / "val-dense-256.json"


def _rows(path):
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.reader(lines))


# Errors.


def test_errors_and_their_intervals_are_written(file):
    # The second and the fourth are wrong at top 1. At top 5 the second is, whose label is sixth.
    line = results.write_result(
        file, _made([0, 1, 3, 4]), "dense, Q = 256", {"run": "it", "scales": [256]}
    )
    assert sealed_json.read(file, dict, "") == {
        "run": "it",
        "scales": [256],
        "num_images": 4,
        "top1_error": 50.0,
        "top1_interval": list(topk.interval(2, 4)),
        "top5_error": 25.0,
        "top5_interval": list(topk.interval(1, 4)),
        "made_by": {"by": "hand"},
    }
    assert line == (
        "dense, Q = 256: top-1 error 50.00% (15.00 to 85.00), "
        "top-5 error 25.00% (4.56 to 69.94) on 4 images"
    )
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_of_fewer_than_five_classes_no_top_5_is_wrong(file):
    values = VALUES[:, :3] / VALUES[:, :3].sum(axis=1, keepdims=True)
    results.write_result(file, _made([2, 2, 2, 2], values, CLASSES[:3]), "it", {})
    result = json.loads(file.read_text())
    assert (result["top1_error"], result["top5_error"]) == (75.0, 0.0)


def test_a_result_takes_the_place_of_the_one_before(file):
    results.write_result(file, _made([0, 6, 3, 0]), "it", {"old": 1})
    line = results.write_result(file, _made([1, 1, 1, 1]), "it", {})
    assert "top-1 error 100.00%" in line
    assert "old" not in json.loads(file.read_text())


# Unlabelled images.


def test_the_top_classes_of_unlabelled_images_are_a_table(file):
    line = results.write_result(file, _made(UNLABELLED), "dense, Q = 256", {"run": "it"})
    table = file.with_suffix(".csv")
    assert sealed_json.read(file, dict, "") == {
        "run": "it",
        "num_images": 4,
        "made_by": {"by": "hand"},
    }
    assert line == (
        f"dense, Q = 256: 4 images without labels; their most probable classes are in {table}"
    )
    head, *rows = _rows(table)
    assert head == [
        "image",
        *(f"{what}_{k}" for k in (1, 2, 3, 4, 5) for what in ("class", "probability")),
    ]
    assert [row[0] for row in rows] == list(NAMES)
    of_classes = [[CLASSES.index(cell) for cell in row[1::2]] for row in rows]
    assert of_classes == [[0, 1, 2, 3, 4], [6, 5, 4, 3, 2], [3, 0, 1, 2, 4], [0, 1, 2, 3, 4]]
    for row, classes, values in zip(rows, of_classes, VALUES, strict=True):
        np.testing.assert_allclose(np.array(row[2::2], float), values[classes], rtol=1e-5)


def test_fewer_than_five_classes_have_fewer_columns(file):
    values = np.array([[0.25, 0.75]] * 4, np.float32)
    results.write_result(file, _made(UNLABELLED, values, ("a", "b")), "it", {})
    head, *rows = _rows(file.with_suffix(".csv"))
    assert head == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    assert rows == [[name, "b", "0.75", "a", "0.25"] for name in NAMES]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_top_classes_are_those_that_are_not_wrong(k):
    for values in VALUES:
        best = topk.best(values, k)
        assert values[best].tolist() == sorted(values, reverse=True)[:k]
        assert {*best.tolist()} == {
            *np.flatnonzero(~topk.wrong(np.stack([values] * 7), np.arange(7), k))
        }


# What fails.


def test_a_write_that_fails_leaves_no_half(file):
    results.write_result(file, _made([0, 1, 3, 4]), "it", {})
    before = file.read_bytes()
    failing = Posteriors(NAMES, np.array(UNLABELLED, np.int32), CLASSES, VALUES, {})
    with pytest.raises(TypeError):
        results.write_result(file, failing, "it", {"run": object()})
    assert file.read_bytes() == before
    left = {path.name for path in file.parent.iterdir()} - {file.name}
    # The table is written first, so that no result lacks its table.
    assert left == {file.with_suffix(".csv").name}
