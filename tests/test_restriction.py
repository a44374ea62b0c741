"""What counts for a result: the classes that are present, and several right labels per image."""

import json
import pathlib

import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.evaluation import topk
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.restriction import Restriction
from vgg_jax.evaluation.result_key import ResultKey, Variant

CLASSES = tuple("abcdefgh")
RNG = np.random.default_rng(0)
NAMES = tuple(f"{'xyz'[k % 3]}/{k:02}.jpg" for k in RNG.permutation(40))
LOGITS = RNG.normal(size=(40, 8))
LABELS = RNG.choice([1, 2, 5, 6, 7], 40).astype(np.int32)


def softmax(logits):
    values = np.exp(logits)
    return values / values.sum(axis=1, keepdims=True)


def made(labels=LABELS, values=None, names=NAMES):
    values = softmax(LOGITS).astype(np.float32) if values is None else values
    return Posteriors(names, np.asarray(labels, np.int32), CLASSES, values, {"about": "it"})


def refusal(restriction, posteriors):
    with pytest.raises(UserError) as caught:
        restriction.applied(posteriors)
    return str(caught.value)


# Present classes.


def test_for_one_crop_present_classes_are_those_of_restricted_logits():
    found, title, facts = Restriction("present").applied(made())
    present = np.unique(LABELS)
    np.testing.assert_allclose(found.values, softmax(LOGITS[:, present]), rtol=1e-5)
    assert [found.class_names[k] for k in found.labels] == [CLASSES[k] for k in LABELS]
    assert (found.names, found.made_by) == (NAMES, {"about": "it"})
    assert title == f", {len(present)} present classes"
    assert facts == {"classes": "present", "num_classes": len(present)}


def test_an_average_is_restricted_after_it_was_made():
    other = softmax(3 * RNG.normal(size=(40, 8)))
    mean = (softmax(LOGITS) + other) / 2
    found, _, _ = Restriction("present").applied(made(values=mean))
    kept = mean[:, np.unique(LABELS)]
    np.testing.assert_allclose(found.values, kept / kept.sum(axis=1, keepdims=True))


def test_all_classes_change_nothing():
    posteriors = made()
    assert Restriction().applied(posteriors) == (posteriors, "", {})


def test_probabilities_that_are_all_0_stay_finite():
    values = np.tile(np.eye(8, dtype=np.float32)[0], (40, 1))  # Nothing is of class 0.
    found, _, _ = Restriction("present").applied(made(values=values))
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize(
    ("labels", "message"), [(-1, "images have no labels"), (3, "Only one class is present")]
)
def test_present_classes_need_labels_of_several(labels, message):
    assert message in refusal(Restriction("present"), made(np.full(40, labels)))


# Several right labels.


@pytest.fixture
def write(tmp_path):
    def write(lists, name="real.json"):
        file = tmp_path / name
        file.write_text(lists if isinstance(lists, str) else json.dumps(lists))
        return Restriction(labels=str(file))

    return write


def random_lists():
    sizes = RNG.integers(0, 4, 40)
    return [RNG.choice(8, size, replace=False).tolist() for size in sizes]


@pytest.mark.parametrize("labels", [LABELS, np.full(40, -1)])
def test_an_image_is_right_if_one_of_the_best_classes_is_in_its_list(write, labels):
    lists = random_lists()
    found, title, facts = write(lists).applied(made(labels))
    order = np.argsort([pathlib.PurePosixPath(name).name for name in NAMES])
    counted = [(index, right) for index, right in zip(order, lists, strict=True) if right]
    assert 20 < len(counted) < 40
    for k in (1, 5):
        best = np.argsort(-LOGITS, axis=1)[:, :k]
        wrong = {NAMES[index]: not {*best[index].tolist()} & {*right} for index, right in counted}
        ours = topk.wrong(found.values, found.labels, k)
        assert dict(zip(found.names, ours.tolist(), strict=True)) == wrong
    assert 0 < ours.sum() < len(ours)
    assert title == f", labels of real.json for {len(counted)} of 40 images"
    assert facts["labels"].endswith("real.json")


def test_of_equally_probable_right_labels_the_first_counts(write):
    values = np.full((40, 8), 1 / 8, np.float32)
    found, _, _ = write([[6, 2]] * 40).applied(made(values=values))
    assert set(found.labels.tolist()) == {2}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ("no json", "real.json can't be read: it is not JSON"),
        ({"a": [1]}, "real.json holds a dict, not a list of lists"),
        ([[0]] * 39, "real.json has 39 lists, and there are 40 images"),
        ([[0]] * 39 + [[3, 8]], "has the class index 8 at 39, and the net has 8 classes"),
        ([[0]] * 39 + [[-1]], "has the class index -1 at 39"),
        ([[0]] * 39 + [0], "real.json holds 0 at 39, not a list of class indices"),
        ([[0]] * 39 + [["tench"]], "holds ['tench'] at 39, not a list"),
        ([[0]] * 39 + [[True]], "holds [True] at 39, not a list"),
        ([[]] * 40, "has no label for any image"),
    ],
)
def test_other_files_are_refused(write, lists, message):
    assert message in refusal(write(lists), made())


def test_file_names_that_occur_twice_leave_the_order_open(write):
    names = ("x/1.jpg", "y/1.jpg", *NAMES[2:])
    message = refusal(write([[0]] * 40), made(names=names))
    assert message.startswith("x/1.jpg and y/1.jpg have the same file name")


# The choice and its name.


def test_a_restriction_names_the_result_and_not_the_posteriors(tmp_path):
    key = ResultKey("imagenet-a", "dense", (256,), Variant("best"), Restriction("present"))
    assert key.result_path(tmp_path).name == "imagenet-a-dense-256-best-present.json"
    assert key.posteriors_path(tmp_path).name == "imagenet-a-dense-256-best.npz"
    labels = Restriction(labels=f"{tmp_path}/real-v1 b.json")
    assert ResultKey("val", "dense", (256,), restriction=labels).result_path(tmp_path).name == (
        "val-dense-256-real_v1_b.json"
    )


@pytest.mark.parametrize("name", ["present", "best", "ceil", "bfloat16"])
def test_labels_are_not_called_what_means_something_else(write, name):
    with pytest.raises(UserError, match=f"{name} in their names means something else. Rename"):
        write([[0]], f"{name}.json").check_choice()


def test_what_cannot_be_chosen_is_refused(write, tmp_path):
    file = write([[0]]).labels
    with pytest.raises(UserError, match="may be of classes that are not present"):
        Restriction("present", file).check_choice()
    with pytest.raises(UserError, match=f"There is no file {tmp_path}/none.json"):
        Restriction(labels=f"{tmp_path}/none.json").check_choice()
