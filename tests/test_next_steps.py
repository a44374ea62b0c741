"""What a finished run advises: commands that fit what there is."""

import shlex

import small_runs
from PIL import Image

from configs import quickstart
from vgg_jax import next_steps
from vgg_jax.runs import run_config


def run(folder, name="mine", **keys):
    """Saves the config of a run that was trained on images in `folder`; returns its workdir."""
    c = quickstart.get_config()
    c.data.name, c.data.dir = "folder", str(folder / "images")
    c.update_from_flattened_dict(keys)
    run_config.save(c, folder / name)
    return c, folder / name


def evaluated(workdir, *names):
    (workdir / "eval").mkdir(exist_ok=True)
    for name in names:
        (workdir / "eval" / name).touch()


def commands(c, workdir):
    """Returns the advised commands, each as its arguments."""
    text = "\n".join(next_steps.lines(c, workdir)).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]


def flat(c, workdir):
    return " ".join(shlex.join(command) for command in commands(c, workdir))


def test_the_photo_is_one_of_the_images_that_the_run_validated_on(tmp_path):
    photo = tmp_path / "images" / "val" / "a class" / "1.png"
    photo.parent.mkdir(parents=True)
    (photo.parent / "notes.txt").touch()
    c, workdir = run(tmp_path)
    assert commands(c, workdir)[0][3] == "PHOTO.jpg"  # There is no image yet.
    Image.new("RGB", (9, 9)).save(photo)
    assert commands(c, workdir)[0][3] == str(photo)


def test_the_photo_of_a_csv_file_is_one_of_its_split_to_validate_on(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    file = tmp_path / "images.csv"
    c, workdir = run(tmp_path, **{"data.name": "csv", "data.dir": str(file)})
    assert commands(c, workdir)[0][3] == "PHOTO.jpg"  # There is no file yet.
    file.write_text("path,label,split\na.png,x,train\nb.png,x,val\n")
    assert commands(c, workdir)[0][3] == str(tmp_path / "b.png")
    assert "init_from" not in flat(c, workdir)  # These are the user's images already.
    file.write_text("path,label\na.png,x\n")
    assert commands(c, workdir)[0][3] == str(tmp_path / "a.png")


def test_the_photo_of_a_saved_config_is_named_from_the_current_folder(tmp_path, monkeypatch):
    photo = tmp_path / "images" / "val" / "x" / "1.png"
    photo.parent.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(photo)
    monkeypatch.chdir(tmp_path)
    c, workdir = run(tmp_path)
    assert commands(c, workdir)[0][3] == "images/val/x/1.png"


def test_the_quickstart_advises_a_photo_of_the_checkout(tmp_path, monkeypatch):
    c, workdir = quickstart.get_config(), tmp_path
    monkeypatch.chdir(small_runs.ROOT)
    assert commands(c, workdir)[0][3] == "notebooks/pictures/shapes.jpg"
    monkeypatch.chdir(tmp_path)
    assert commands(c, workdir)[0][3] == "PHOTO.jpg"


def test_an_evaluation_is_advised_until_it_has_been_made(tmp_path):
    c, workdir = run(tmp_path)
    assert "eval.method=both" not in flat(c, workdir)  # Not even the dense one has been made.
    evaluated(workdir, "val-dense-73.npz")
    assert "eval.method=both" in flat(c, workdir)
    evaluated(workdir, "val-multicrop-73.npz")
    assert "eval.method=both" not in flat(c, workdir)


def test_two_runs_on_the_same_images_can_be_fused(tmp_path):
    c, workdir = run(tmp_path)
    evaluated(workdir, "val-dense-73.npz")
    _, other_images = run(tmp_path, "a", **{"data.dir": str(tmp_path / "other")})
    evaluated(other_images, "val-dense-73.npz")
    damaged = tmp_path / "b"
    damaged.mkdir()
    evaluated(damaged, "val-dense-73.npz")
    (damaged / "config.json").write_text("{")
    assert "vgg_jax.fuse" not in flat(c, workdir)
    _, same_images = run(tmp_path, "c")
    evaluated(same_images, "val-dense-73.npz")
    assert f"vgg_jax.fuse {workdir} {same_images}" in flat(c, workdir)


def test_a_run_that_starts_from_this_one_has_the_same_net(tmp_path):
    c, workdir = run(tmp_path, width=0.125)
    assert "init_from" not in flat(c, workdir)  # These are the user's images already.
    c.data.name, c.data.dir = "shapes", ""
    assert "--config=configs/quickstart.py --config.width=0.125" in flat(c, workdir)
    c.name = "a_config_of_ones_own"
    assert "init_from" not in flat(c, workdir)
