"""The command that classifies photos, on a small run's net."""

import csv
import subprocess
import sys

import forked
import numpy as np
import pytest
import small_runs
from PIL import Image

import vgg_jax
from vgg_jax.data import images


def predict_process(trained, *args, stdin=None, before=(), **more):
    return subprocess.run(
        [*before, sys.executable, "-m", "vgg_jax.predict", f"--workdir={trained}", *map(str, args)],
        cwd=small_runs.ROOT,
        input=stdin,
        capture_output=True,
        check=False,
        env=small_runs.environment(**more),
    )


@pytest.fixture(scope="module")
def predict(trained):
    with forked.command("vgg_jax.predict") as command:
        yield lambda *args, **more: command(f"--workdir={trained}", *args, **more)


def test_files_folders_and_stdin(folder, trained, tmp_path):
    """What a user sees agrees with what the Python API returns."""
    first = next((folder / "val/a").iterdir())
    done = predict_process(
        *(trained, first, folder / "val/b", "-", "--top=2", "--scales=64,80", "--method=both"),
        *(f"--map={tmp_path / 'maps'}", "--map_scale=70"),
        stdin=first.read_bytes(),
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    paths = [str(first), *sorted(map(str, (folder / "val/b").iterdir())), "stdin"]
    assert len(paths) == 5
    assert lines[::4] == paths
    net = vgg_jax.load(trained)
    photos = [images.decode(first.read_bytes())]
    photos += [Image.open(path).convert("RGB") for path in paths[1:4]] + photos
    values = net.posteriors([np.asarray(p) for p in photos], method="both", scales=(64, 80))
    for index, of_image in enumerate(values):
        for place, k in enumerate(np.argsort(-of_image)[:2], 1):
            probability, name = lines[4 * index + place].split()
            assert name == net.class_names[k]
            assert float(probability[:-1]) == pytest.approx(100 * of_image[k], abs=0.006)
    drawn = sorted((tmp_path / "maps").iterdir())
    assert lines[3::4] == [f"  map: {path}" for path in drawn]
    assert drawn[0].name == f"1-{first.name}.png"
    assert drawn[-1].name == "5-stdin.png"
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.format == "PNG"


def test_a_map_of_one_image_is_a_file(trained, folder, tmp_path):
    first = next((folder / "val/a").iterdir())
    path = tmp_path / "new/where.jpg"
    done = predict_process(trained, first, f"--map={path}", MPLBACKEND="nonsense")
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout.decode().splitlines()) == 1 + 3 + 1  # The folder has three classes.
    with Image.open(path) as picture:
        assert picture.format == "JPEG"


def test_a_table_has_what_is_printed_and_bad_files_keep_no_good_ones_results(
    predict, folder, bad, tmp_path
):
    odd = tmp_path / "photos/=1+\x1b[2J, ü.jpg"
    odd.parent.mkdir()
    odd.write_bytes((folder / "val/a/0.jpg").read_bytes())
    table, good = tmp_path / "new/classes.csv", folder / "val/a/3.jpg"
    done = predict(odd.parent, bad, good, "--top=2", f"--csv={table}", f"--map={tmp_path}/maps")
    assert (done.returncode, done.stderr.count("is not a readable image")) == (2, 2)
    of_empty, of_text = done.stderr.splitlines()[-2:]
    assert of_empty.startswith(f"error: {bad}/empty.jpg is not a readable image (an empty file)")
    assert of_text.startswith(f"{bad}/text.png is not a readable image (of no known format)")
    with table.open(newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines)
    assert head == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    *printed, last = done.stdout.splitlines()
    assert last == f"table: {table}"
    assert [row[0] for row in rows] == printed[::4]
    assert printed[::4] == [f"{tmp_path}/photos/=1+\\x1b[2J, ü.jpg", str(good)]
    for row, *of_image in zip(rows, printed[1::4], printed[2::4], strict=True):
        for line, name, p in zip(of_image, row[1::2], row[2::2], strict=True):
            assert line.split()[1] == name
            assert float(line.split("%")[0]) == pytest.approx(100 * float(p), abs=0.006)
    maps = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert maps == [f"1-{odd.name}.png", "4-3.jpg.png"]


@pytest.fixture(scope="session")
def bad(tmp_path_factory):
    path = tmp_path_factory.mktemp("bad")
    (path / "empty.jpg").touch()
    (path / "text.png").write_text("no image")
    return path


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Name the images"),
        (["nowhere.jpg"], "There is no file or folder nowhere.jpg."),
        (["tests"], "tests holds no images."),
        (["-", "-"], "Give - once"),
        (["{val}", "--map=x.png"], "--map=x.png must be a folder for 9 images"),
        (["{val}/a/0.jpg", "--map=README.md"], "--map=README.md must be a folder"),
        (["{val}/a/0.jpg", "--map=x.tif"], "for a single one a file (.png, "),
        (["https://a.org/b.jpg"], "https://a.org/b.jpg is on no disk"),
        (["{val}", "--scales=73,63"], "Q=63 is below the net's crop of 64 px"),
        (["{val}", "--scales=a"], "--scales takes whole numbers"),
        (["{val}", "--map_scale=64"], "--map_scale needs --map."),
        (["{val}", "--map_scale=63", "--map=x"], "Q=63 is below"),
        (["{val}", "--csv", "{val}/a/0.jpg", "{val}/a/3.jpg"], "must be a file whose name ends"),
        (["{val}", "--csv="], "--csv is empty. Give it a value"),
        (["{val}", "--csv={folder}.csv"], "{folder}.csv must be a file whose name ends with .csv."),
        (["{val}", "--csv=README.md/x.csv"], "README.md can't be written to: "),
        (["{val}", "--workdir=none"], "no checkpoint of a run in none"),
    ],
)
def test_bad_input_is_one_error(predict, folder, tmp_path, args, message):
    (tmp_path / "folder.csv").mkdir()
    places = {"val": folder / "val", "folder": tmp_path / "folder"}
    done = predict(*(arg.format(**places) for arg in args))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert message.format(**places) in done.stderr
    assert done.stdout == ""
    assert not (small_runs.ROOT / "x").exists()


def test_a_closed_stdin_is_an_empty_one(trained):
    done = predict_process(trained, "-", before=["bash", "-c", 'exec "$@" <&-', "bash"])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == (
        "error: stdin is not a readable image (an empty file). Replace or remove it.\n"
    )
