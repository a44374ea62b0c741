"""A net of some of ImageNet's classes, evaluated on another form of its images and on others."""

import json
import shutil

import made_parquet
import numpy as np
import pytest
import small_runs
from PIL import Image

from vgg_jax.data.imagenet import val_labels
from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion, of_run, posteriors
from vgg_jax.evaluation.result_key import Variant

pytestmark = pytest.mark.runs

NUM_IMAGES = 9


def _photo(path, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (70, 80, 3), np.uint8)).save(path, "JPEG")


def _val_files():
    """Returns SYNSET/NAME of three validation images of each of three classes."""
    names = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)]
    of_synset = {}
    for name, synset in zip(names, val_labels.by_number(names, ""), strict=True):
        of_synset.setdefault(synset, []).append(name)
    return [
        f"{synset}/{name}" for synset in sorted(of_synset)[:3] for name in of_synset[synset][:3]
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder `folders` with class folders of synsets, and the run `run` that is trained on it.

    `shards` has the validation images in another order. `sketch` has other images of the classes.
    """
    root, rng = tmp_path_factory.mktemp("evaluated"), np.random.default_rng(0)
    files = _val_files()
    for file in files:
        synset = file.split("/")[0]
        _photo(root / "folders/val" / file, rng)
        _photo(root / "sketch/val" / synset / f"sketch_{file[-8:]}", rng)
        for number in range(3):
            _photo(root / "folders/train" / synset / f"{synset}_{file[-7:-5]}{number}.JPEG", rng)
    for file in files[:2] + files[-3:]:  # The first and the last class.
        _photo(root / "few" / file.replace("ILSVRC2012_val_", "few"), rng)
    synsets = sorted({file.split("/")[0] for file in files})
    mixed = [files[k] for k in np.random.default_rng(1).permutation(NUM_IMAGES)]
    images = [((root / "folders/val" / file).read_bytes(), file.split("/")[1]) for file in mixed]
    labels = [synsets.index(file.split("/")[0]) for file in mixed]
    shard = root / "shards/validation-00000-of-00001.parquet"
    made_parquet.write(shard, images, labels, names=synsets, rows_per_group=2)
    done = small_runs.run_process(
        *small_runs.one_epoch(root / "folders", root / "run", "--config.data.name=imagenet")
    )
    assert done.returncode == 0, done.stderr
    assert "with the mean RGB 123.7,116.8,103.9 of ILSVRC" in done.stdout
    return root


@pytest.fixture
def evaluate(root, run_main, capsys):
    def evaluate(directory, *flags, workdir=root / "run"):
        data = f"--config.data.dir={root / directory}"
        run_main(f"--workdir={workdir}", "--mode=eval", data, *flags)
        return capsys.readouterr().out

    return evaluate


def _read(workdir, name):
    return posteriors.read(workdir / f"eval/{name}.npz")


def _result(workdir, name):
    return json.loads((workdir / "eval" / f"{name}.json").read_text())


def _without_evaluations(root, name):
    ignored = shutil.ignore_patterns("eval", "report*")
    return shutil.copytree(root / "run", root / name, ignore=ignored)


def test_another_form_gives_the_same_and_fuses_with_the_first(root, evaluate):
    other = _without_evaluations(root, "other")
    runs = dict.fromkeys((root / "run", other), ())
    keys = fusion.keys_of(runs, "dense", None, Variant())
    with pytest.raises(UserError, match="are missing, or of an earlier checkpoint"):
        fusion.fuse(keys, root / "fused")
    output = evaluate("shards", workdir=other)
    assert "holds parquet shards of the Hub: validation." in output
    ours, theirs = (_read(workdir, "validation-dense-73") for workdir in (root / "run", other))
    assert ours.names != theirs.names
    assert ours.made_by["identity"]["images"] != theirs.made_by["identity"]["images"]
    order = [theirs.names.index(name) for name in ours.names]
    assert theirs.labels[order].tolist() == ours.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(theirs.values[order], ours.values, rtol=0, atol=1e-6)

    assert "on 9 images" in fusion.fuse(keys, root / "fused")
    mean = (ours.values.astype(np.float64) + theirs.values[order]) / 2
    fused = json.loads((root / "fused/run+other-validation-dense-73.json").read_text())
    wrong = mean.argmax(axis=1) != ours.labels
    assert fused["top1_error"] == pytest.approx(100 * wrong.mean())
    assert of_run.images(other, theirs)(order[4]).size == (80, 70)
    shown = np.asarray(of_run.images(other, theirs)(order[4]))
    np.testing.assert_array_equal(shown, np.asarray(of_run.images(root / "run", ours)(4)))


def test_posteriors_of_another_form_are_kept_with_a_way_out(root, evaluate):
    before = (root / "run/eval/validation-dense-73.npz").read_bytes()
    with pytest.raises(UserError, match=r"same images in another form of ImageNet.* --out=FOLDER"):
        evaluate("shards")
    assert (root / "run/eval/validation-dense-73.npz").read_bytes() == before
    evaluate("shards", f"--out={root / 'out'}")
    assert (root / "out/eval/validation-dense-73.npz").exists()


def test_the_present_classes_of_a_subset(root, evaluate):
    output = evaluate("few", "--config.eval.classes=present")
    assert "few: 2 of the net's 3 classes, by synset" in output
    found = _read(root / "run", "few-dense-73")
    assert found.labels.tolist() == [0, 0, 2, 2, 2]
    of_present = found.values[:, [0, 2]]
    wrong = of_present.argmax(axis=1) != found.labels // 2
    assert _result(root / "run", "few-dense-73-present")["top1_error"] == pytest.approx(
        100 * wrong.mean()
    )


def test_other_images_of_the_same_synsets_are_named_after_their_set(root, evaluate):
    workdir = _without_evaluations(root, "named")
    evaluate("sketch", workdir=workdir)
    evaluate("sketch", "--config.data.val_split=val", workdir=workdir)
    # In a folder of another kind, too, and whatever the split is called.
    shutil.copytree(root / "sketch/val", root / "drawn/new")
    flags = ("--config.data.name=folder", "--config.data.val_split=new")
    evaluate("drawn", *flags, workdir=workdir)
    found = {path.stem for path in (workdir / "eval").glob("*.npz")}
    assert found == {"sketch-validation-dense-73", "drawn-new-dense-73"}


def test_imagenets_val_is_its_validation_and_another_split_has_a_report_of_its_own(root, evaluate):
    files = {path: path.stat().st_mtime_ns for path in (root / "run/eval").glob("validation*.npz")}
    evaluate("folders", "--config.data.val_split=val")
    assert not (root / "run/eval/val-dense-73.npz").exists()
    assert {path: path.stat().st_mtime_ns for path in files} == files
    own = (root / "run/report.html").read_bytes()
    output = evaluate("folders", "--config.data.val_split=train")
    assert f"The report is in {root}/run/report-train.html." in output
    assert (root / "run/report.html").read_bytes() == own
