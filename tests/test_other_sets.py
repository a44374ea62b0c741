"""Evaluations on other images than a run's own: their classes, their names and their errors."""

import html
import json
import shutil

import numpy as np
import pytest
import small_runs
from PIL import Image

from vgg_jax.errors import UserError
from vgg_jax.evaluation import fusion, of_run, posteriors
from vgg_jax.evaluation.restriction import Restriction
from vgg_jax.evaluation.result_key import ResultKey, Variant
from vgg_jax.run_report import report
from vgg_jax.runs import run_config

pytestmark = pytest.mark.runs


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of the trained run, which knows the classes a, b and c."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def evaluate(workdir, run_main, capsys):
    """Evaluates the run as a user does, with its workdir and some keys; returns the output."""

    def evaluate(*keys):
        capsys.readouterr()
        flags = [f"--config.{key}" for key in keys]
        run_main(f"--workdir={workdir}", "--mode=eval", "--config.eval.method=dense", *flags)
        return capsys.readouterr().out

    return evaluate


@pytest.fixture
def make(tmp_path):
    """Makes {CLASS: number} noisy images in class folders, or for "" in the folder itself."""

    def make(name, **counts):
        rng = np.random.default_rng(len(name))
        for class_name, count in counts.items():
            folder = tmp_path / name / class_name.strip("_")
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (70, 80, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{class_name}{number}.png")
        return tmp_path / name

    return make


def result(workdir, name):
    return json.loads((workdir / "eval" / f"{name}.json").read_text())


def errors(values, labels):
    return pytest.approx(100 * (values.argmax(axis=1) != labels).mean())


def test_a_folder_without_splits_is_evaluated_under_its_name(workdir, make, evaluate, folder):
    config = run_config.path(workdir).read_bytes()
    own = {path.name: path.read_bytes() for path in (workdir / "eval").iterdir()}
    own["report.html"] = (workdir / "report.html").read_bytes()
    few = make("few-photos", c=6, a=4)
    here = (f"data.dir={few}", "eval.scales=64,96")
    output = evaluate(*here)
    assert "few-photos: 2 of the net's 3 classes, by name\n" in output
    found = posteriors.read(workdir / "eval/few-photos-dense-64.npz")
    assert found.values.shape == (10, 3)
    assert [found.class_names[k] for k in found.labels] == [name[0] for name in found.names]

    written_ns = (workdir / "eval/few-photos-dense-64.npz").stat().st_mtime_ns
    output = evaluate(*here, "eval.classes=present")
    assert (workdir / "eval/few-photos-dense-64.npz").stat().st_mtime_ns == written_ns
    mean = np.mean(
        [posteriors.read(workdir / f"eval/few-photos-dense-{q}.npz").values for q in (64, 96)], 0
    )
    assert result(workdir, "few-photos-dense-64_96")["top1_error"] == errors(mean, found.labels)
    of_present = result(workdir, "few-photos-dense-64_96-present")
    assert of_present["top1_error"] == errors(mean[:, [0, 2]], found.labels // 2)
    assert (of_present["classes"], of_present["num_classes"]) == ("present", 2)
    assert f", 2 present classes: top-1 error {of_present['top1_error']:.2f}% " in output
    assert "few-photos, 2 classes" in (workdir / "report-few-photos-present.html").read_text()

    assert run_config.path(workdir).read_bytes() == config
    assert own.pop("report.html") == (workdir / "report.html").read_bytes()
    assert own == {name: (workdir / "eval" / name).read_bytes() for name in own}
    assert len(of_run.posteriors(workdir).names) == 9


def test_a_page_of_another_set_is_made_again_with_its_photos(workdir, make, evaluate):
    few = make("few", c=6, a=4)
    evaluate(f"data.dir={few}")
    key, page = ResultKey("few", "dense", (73,)), workdir / "report-few.html"
    photos = page.read_text().count('class="photo"')
    assert photos
    report.write(workdir, key, page)
    assert page.read_text().count('class="photo"') == photos
    (few / "c/c0.png").unlink()
    report.write(workdir, key, page)
    told = html.unescape(page.read_text())
    assert f"The images of {few} are not those that {workdir} was evaluated on as 'few'." in told
    assert f"move the files of 'few' in {workdir}/eval away" in told
    shutil.rmtree(few)
    report.write(workdir, key, page)
    assert f"no folder {few}. " in page.read_text()


def test_notebooks_find_the_classes_too(workdir, make):
    c = run_config.existing(workdir)
    c.data.dir = str(make("few", c=2, a=1))
    run_config.save(c, workdir)
    shutil.rmtree(workdir / "eval")
    found = of_run.posteriors(workdir)
    assert found.labels.tolist() == [0, 2, 2]
    assert of_run.images(workdir, found)(0).size == (80, 70)
    assert of_run.posteriors(workdir).names == found.names


def test_numbered_folders_are_indices(workdir, make, evaluate):
    output = evaluate(f"data.dir={make('numbered', _2=3, _0=2)}")
    assert "numbered: 2 of the net's 3 classes, by index (for example, 0 is a)\n" in output
    found = posteriors.read(workdir / "eval/numbered-dense-73.npz")
    assert found.labels.tolist() == [0, 0, 2, 2, 2]


def test_a_folder_called_like_the_runs_split_has_another_name(workdir, make, evaluate):
    for name in ("val", "held_out"):
        output = evaluate(f"data.dir={make(f'shop/{name}', a=2, b=2, c=2)}")
        assert f"shop-{name}: the net's 3 classes\n" in output
        assert (workdir / f"eval/shop-{name}-dense-73.npz").exists()


def test_a_set_with_splits_is_named_by_both(workdir, make, evaluate):
    make("fruit/train", a=1, b=1)
    make("fruit/val", a=2, b=2)
    assert "fruit-val: 2 of the net's 3 classes, by name" in evaluate(
        f"data.dir={workdir.parent}/fruit"
    )
    assert (workdir / "eval/fruit-val-dense-73.json").exists()


def test_other_images_of_the_same_classes_are_not_the_runs(workdir, make, evaluate):
    make("other/val", a=2, b=2, c=2)
    assert "other-val: the net's 3 classes\n" in evaluate(f"data.dir={workdir.parent}/other")
    assert result(workdir, "val-dense-73")["num_images"] == 9


def test_the_runs_own_images_elsewhere_are_the_runs(workdir, folder, evaluate):
    shutil.copytree(folder, workdir.parent / "moved", copy_function=shutil.copy2)
    before = {path.name for path in (workdir / "eval").iterdir()}
    output = evaluate(f"data.dir={workdir.parent}/moved")
    assert {path.name for path in (workdir / "eval").iterdir()} == before
    assert "moved" not in output


def test_images_without_folders_are_unlabelled(workdir, make, evaluate):
    loose = make("loose", _=3)
    assert "loose: images without labels\n" in evaluate(f"data.dir={loose}")
    assert (workdir / "eval/loose-dense-73.csv").exists()
    with pytest.raises(UserError, match="images have no labels, which say what classes are"):
        evaluate(f"data.dir={loose}", "eval.classes=present")


def test_several_right_labels_per_image(workdir, tmp_path, evaluate):
    found = posteriors.read(workdir / "eval/val-dense-73.npz")
    lists = [[], [0, 1, 2], [0], [1], [2], [0, 1], [], [1, 2], [0, 2]]
    (tmp_path / "real.json").write_text(json.dumps(lists))
    output = evaluate(f"eval.labels={tmp_path}/real.json")
    best = {name[2:]: row.argmax() for name, row in zip(found.names, found.values, strict=True)}
    wrong = [
        best[f"{number}.jpg"] not in right for number, right in enumerate(lists) if right
    ]  # The images are 0.jpg to 8.jpg, in the folders of three classes.
    assert result(workdir, "val-dense-73-real")["top1_error"] == pytest.approx(100 * np.mean(wrong))
    assert "labels of real.json for 7 of 9 images: top-1 error " in output
    assert "on 7 images" in output
    assert "report" not in output
    (tmp_path / "real.json").write_text(json.dumps(lists[1:]))
    with pytest.raises(UserError, match="has 8 lists, and there are 9 images"):
        evaluate(f"eval.labels={tmp_path}/real.json")


def test_runs_are_fused_on_another_set(workdir, make, evaluate, tmp_path):
    few = make("few", c=6, a=4)
    evaluate(f"data.dir={few}")
    other = shutil.copytree(workdir, tmp_path / "again")
    (other / "eval/few-dense-73.npz").unlink()

    def fused(restriction=Restriction()):
        keys = fusion.keys_of({workdir: (), other: ()}, "dense", "few", Variant(), restriction)
        return fusion.fuse(keys, tmp_path / "fused")

    with pytest.raises(UserError) as caught:
        fused()
    assert f"--workdir={other} --config.data.dir={few} --config.eval.method=dense" in str(
        caught.value
    )
    shutil.copy(workdir / "eval/few-dense-73.npz", other / "eval")
    assert "again, dense, Q = 73, 2 present classes: top-1" in fused(Restriction("present"))
    assert (tmp_path / "fused/run+again-few-dense-73-present.json").exists()
    (tmp_path / "real.json").write_text(json.dumps([[0, 1]] * 10))
    assert "labels of real.json for 10 of 10 images" in fused(
        Restriction(labels=f"{tmp_path}/real.json")
    )


def test_a_split_that_a_folder_without_splits_lacks_is_named_with_the_way_out(make, evaluate):
    with pytest.raises(UserError, match=r"no folder .*few/new.* --config.data.val_split=''\."):
        evaluate(f"data.dir={make('few', c=6, a=4)}", "data.val_split=new")


def test_a_run_on_a_folder_without_splits(make, tmp_path, run_main, capsys):
    """It holds some of the images out. Another set isn't evaluated in part."""
    flags = small_runs.one_epoch(make("all", a=9, b=8, c=7), tmp_path / "new")
    with pytest.raises(UserError, match=r"no folder .*all/train\. .*--config.data.held_out=N"):
        run_main(*flags)
    run_main(*flags, "--config.data.held_out=6")
    assert result(tmp_path / "new", "held_out-dense-73")["num_images"] == 6
    assert run_config.existing(tmp_path / "new").data.held_out == 6
    other = (f"--workdir={tmp_path}/new", "--mode=eval", f"--config.data.dir={make('b', a=4, c=4)}")
    with pytest.raises(UserError, match=r"another data set, .* add --config.data.held_out=0"):
        run_main(*other)
    run_main(*other, "--config.data.held_out=0")
    assert result(tmp_path / "new", "b-dense-73")["num_images"] == 8
