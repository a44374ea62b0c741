"""The command that stores descriptors of images."""

import json

import forked
import numpy as np
import pytest

import vgg_jax

pytestmark = pytest.mark.runs


features = forked.fixture("vgg_jax.features")


def test_descriptors_are_stored_with_names_and_labels(features, trained, folder, tmp_path):
    out = tmp_path / "descriptors.npz"
    given = (trained, f"--data={folder}", "--split=val", "--scales=73,64", f"--out={out}")

    done = features(*given, "--layer=pool3")

    assert done.returncode == 0, done.stderr
    assert "9 descriptors of 16 values: pool3, Q = 73, 64 (stack)" in done.stdout
    with np.load(out) as stored:
        values, names, labels = stored["descriptors"], stored["names"], stored["labels"]
        made_by = json.loads(str(stored["made_by"]))
    assert list(names) == [f"{'abc'[i % 3]}/{i}.jpg" for i in sorted(range(9), key=lambda i: i % 3)]
    assert list(labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(np.linalg.norm(values.reshape(9, 2, -1), axis=2), 1, rtol=1e-5)
    assert (made_by["layer"], made_by["scales"]) == ("pool3", [73, 64])
    assert made_by["net"] == vgg_jax.load(trained).model.net

    again = features(*given, "--layer=pool3")
    assert again.returncode == 2
    assert str(out) in again.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--layer=relu9"],
            "error: The net has no layer 'relu9' that gives descriptors. Choose one",
        ),
        (["--scales=63"], "error: The scale Q=63 is too small for relu7"),
        (["--protocol=voc"], "error: These flags need --svm: --protocol."),
        (["--draws=2", "--seed=1"], "error: These flags need --svm: --draws, --seed."),
        (["--svm", "--protocol=voc", "--draws=2"], "draws no images, so it takes no --draws."),
        (["--svm", "--seed=-1"], "error: --seed=-1: -1 is not a non-negative integer."),
        (["--split=val,"], "error: --split=val, has an empty name. Leave it out."),
        (["--split=absent"], "absent"),
        (["--out=f.txt"], "error: --out=f.txt doesn't end in .npz"),
    ],
)
def test_bad_input_is_one_error(features, trained, folder, args, message):
    done = features(trained, f"--data={folder}", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_svm_says_how_many_images_test_it_and_if_the_net_has_seen_some(
    features, trained, folder
):
    pytest.importorskip("sklearn")
    given = (trained, f"--data={folder}", "--layer=pool1", "--svm", "--draws=1")
    done = features(*given, "--split=train,val", "--train_per_class=3")
    assert "3 classes, 3 training and 5 to 6 test images of each, 1 draw\n" in done.stdout
    assert "All images that the net was trained on are among these: the recall" in done.stdout
    done = features(*given, "--split=val", "--train_per_class=2")
    assert "3 classes, 2 training and 1 test images of each, 1 draw\n" in done.stdout
    assert "that the net was trained on" not in done.stdout
