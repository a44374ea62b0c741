"""The embedded data set is deterministic, balanced and widely varied."""

import subprocess
import sys

import numpy as np
import pytest
from small_runs import ROOT

from vgg_jax.data import rendered_shapes


@pytest.fixture(scope="module")
def rendered():
    """The first 500 training images, which take a few seconds to render."""
    return [rendered_shapes.render("train", number) for number in range(500)]


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("train", 1999), ("validation", 3)])
def test_an_image_is_of_its_split_and_number_alone(split, number):
    image, label = rendered_shapes.render(split, number)
    rendered_shapes.render("train", 7)
    again, again_label = rendered_shapes.render(split, number)
    np.testing.assert_array_equal(image, again)
    assert label == again_label


def test_splits_and_numbers_give_different_images(rendered):
    assert len({image.tobytes() for image, _ in rendered}) == len(rendered)
    held_out = [rendered_shapes.render("validation", number)[0] for number in range(20)]
    assert not {image.tobytes() for image in held_out} & {image.tobytes() for image, _ in rendered}


def test_the_classes_are_balanced(rendered):
    counts = np.bincount([label for _, label in rendered], minlength=10)
    assert counts.tolist() == [50] * 10
    assert len(rendered_shapes.CLASS_NAMES) == 10
    assert all(size % 10 == 0 for size in rendered_shapes.SPLITS.values())


def test_images_have_several_hundred_sizes(rendered):
    # The first 500 of the 2000 images already have more than 200.
    assert len({image.shape for image, _ in rendered}) > 200
    aspects = [image.shape[1] / image.shape[0] for image, _ in rendered]
    assert min(aspects) < 0.6
    assert max(aspects) > 1.7


def test_images_are_valid(rendered):
    for image, _ in rendered:
        assert image.dtype == np.uint8
        height, width, channels = image.shape
        assert channels == 3
        assert {height, width} <= set(rendered_shapes.SIDES_PX)
        assert max(height, width) <= rendered_shapes.MAX_ASPECT * min(height, width)
        assert image.std() > 5


@pytest.mark.parametrize("name", rendered_shapes.CLASS_NAMES)
def test_a_shape_fills_a_part_of_the_unit_disc(name):
    v, u = np.mgrid[-1.5:1.5:301j, -1.5:1.5:301j]
    inside = rendered_shapes._distance(name, u, v) < 0
    assert np.hypot(u, v)[inside].max() <= 1
    assert 0.25 < inside.sum() * 0.01**2 / np.pi < 1


def test_shapes_differ():
    v, u = np.mgrid[-1:1:101j, -1:1:101j]
    masks = {
        name: rendered_shapes._distance(name, u, v) < 0 for name in rendered_shapes.CLASS_NAMES
    }
    for name, mask in masks.items():
        for other, other_mask in masks.items():
            assert name == other or np.mean(mask ^ other_mask) > 0.02


def test_an_unknown_shape_raises():
    plane = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="No shape is called 'hexagon'"):
        rendered_shapes._distance("hexagon", plane, plane)


def test_the_builder_yields_every_image_once_as_jpeg(monkeypatch):
    monkeypatch.setitem(rendered_shapes.SPLITS, "validation", 50)
    examples = list(rendered_shapes.Shapes._generate_examples(None, "validation"))
    assert len({key for key, _ in examples}) == rendered_shapes.SPLITS["validation"]
    _, example = examples[13]
    assert example["label"] == 3
    assert example["file_name"] == "validation_00013.jpg"
    assert example["image"].read(2) == b"\xff\xd8"


def test_of_two_processes_one_renders(tmp_path):
    code = (
        "from vgg_jax.data import rendered_shapes; "
        "rendered_shapes.SPLITS = {'train': 200, 'validation': 50}; "
        "from vgg_jax.data.specs import DataSpec; "
        "from vgg_jax.data.splits import open_val_source; "
        f"print(len(open_val_source(DataSpec('shapes', '', 'train', '', {str(tmp_path)!r}))))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(output.count("Rendering") for output in outputs) == [0, 1]
    assert all(output.endswith("50\n") for output in outputs)
