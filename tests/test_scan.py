"""The scan: its mean against NumPy's, what it finds, its cache, and what is refused or left out."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import interrupted_scan
import numpy as np
import opened
import pytest
from PIL import Image
from small_runs import fill

from vgg_jax.data import decodable, images, scan, scan_files
from vgg_jax.data.source import Subset
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import ScanOptions
from vgg_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("parsed_flags")


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _noise(height, width, below=256, seed=0):
    return np.random.default_rng(seed).integers(0, below, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def source(tmp_path):
    """Lossless images of several sizes, one of them grey; brightness differs with the size."""
    sizes = [(3, 5), (40, 31), (120, 90), (1, 1)]
    files = {f"train/a/{i}.png": _png(_noise(*size, 60 * (i + 1))) for i, size in enumerate(sizes)}
    files["train/a/grey.png"] = _png(_noise(20, 30)[..., 0])
    return opened.folder(fill(tmp_path / "data", files), "train")


@pytest.fixture
def damaged(tmp_path):
    """Good and bad images, more than a worker process sends in one message."""
    good, files = _png(_noise(9, 7)), {}
    bad = {"empty": b"", "text": b"<html>", "cut": good[:-40]}
    for i in range(50):
        files[f"train/{'ab'[i % 2]}/{i:02d}.png"] = _png(_noise(4 + i, 5, seed=i))
    for name, data in bad.items():
        files[f"train/a/{name}.jpg"] = files[f"val/b/{name}.JPEG"] = data
    files |= {"val/a/1.png": good, "val/b/1.png": good}
    return fill(tmp_path / "data", files)


def _by_numpy(source, indices=None):
    def of_image(index):
        pixels = np.asarray(images.decode(source[index].image), np.float64)
        return pixels.reshape(-1, 3).mean(0)

    return np.mean([of_image(i) for i in indices or range(len(source))], axis=0)


def _scan(source, cache, **options):
    return scan.scan(source, "test", ScanOptions(str(cache), progress=False, **options))


def _check(root, cache, undecodable):
    train, val = (opened.folder(root, split) for split in ("train", "val"))
    return decodable.training_splits(
        train, val, ScanOptions(str(cache), undecodable, progress=False)
    )


def _message(*args):
    with pytest.raises(UserError) as caught:
        _check(*args)
    return str(caught.value)


# The mean.


def test_every_image_weighs_the_same(source, tmp_path):
    found = _scan(source, tmp_path)
    np.testing.assert_allclose(found.mean_rgb, _by_numpy(source), rtol=1e-12)
    assert (found.class_counts, found.undecodable) == ((5,), ())


def test_the_channels_are_red_green_blue(tmp_path):
    (tmp_path / "train/a").mkdir(parents=True)
    Image.new("RGB", (4, 3), (200, 100, 50)).save(tmp_path / "train/a/1.png")
    Image.new("RGB", (9, 9), (100, 0, 40)).save(tmp_path / "train/a/2.png")
    assert _scan(opened.folder(tmp_path, "train"), tmp_path).mean_rgb == (150, 50, 45)


# What is found.


def test_what_is_undecodable_is_named_and_not_in_the_mean(damaged, tmp_path):
    source = opened.folder(damaged, "train")
    found = _scan(source, tmp_path / "cache")
    names = [os.path.basename(image.key) for image in found.undecodable]
    assert names == ["cut.jpg", "empty.jpg", "text.jpg"]
    reasons = [image.reason for image in found.undecodable]
    assert "truncated" in reasons[0]
    assert reasons[1:] == ["an empty file", "of no known format"]
    assert found.class_counts == (25, 25)
    bad = {image.index for image in found.undecodable}
    good = [i for i in range(len(source)) if i not in bad]
    np.testing.assert_allclose(found.mean_rgb, _by_numpy(source, good), rtol=1e-12)


def test_worker_processes_find_what_threads_find(damaged, tmp_path):
    source = opened.folder(damaged, "train")
    threads = _scan(source, tmp_path / "threads")
    assert _scan(source, tmp_path / "processes", num_workers=2) == threads
    file = scan.cache_path(source, "").name
    assert (tmp_path / "threads/scans" / file).read_text() == (
        tmp_path / "processes/scans" / file
    ).read_text()


def test_a_file_that_cannot_be_read_is_undecodable(source, tmp_path):
    (tmp_path / "data/train/a/2.png").unlink()
    (found,) = _scan(source, tmp_path).undecodable
    assert found.index == 2
    assert found.key.endswith("train/a/2.png")
    assert found.reason == "No such file or directory"


# The cache.


def test_a_source_is_scanned_once(source, tmp_path):
    first = _scan(source, tmp_path / "cache")
    shutil.rmtree(tmp_path / "data")
    assert _scan(source, tmp_path / "cache") == first
    assert len(_scan(source, tmp_path / "another").undecodable) == 5


def test_only_the_scan_is_left_in_the_cache(source, tmp_path):
    _scan(source, tmp_path / "cache")
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files == [tmp_path / "cache" / "scans" / f"{source.contents_key}.json"]


def test_another_index_is_scanned_anew(source, tmp_path):
    first = _scan(source, tmp_path / "cache")
    Image.new("RGB", (7, 8), "white").save(tmp_path / "data/train/a/5.png")
    grown = opened.folder(tmp_path / "data", "train")
    second = _scan(grown, tmp_path / "cache")
    assert second.mean_rgb != first.mean_rgb
    np.testing.assert_allclose(second.mean_rgb, _by_numpy(grown), rtol=1e-12)
    half = Subset(source, np.array([0, 2]))
    np.testing.assert_allclose(
        _scan(half, tmp_path / "cache").mean_rgb, _by_numpy(half), rtol=1e-12
    )


def test_the_cache_may_be_in_the_home_directory(source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _scan(source, "~/cache")
    assert (tmp_path / "cache" / "scans").is_dir()


def test_a_cache_that_cannot_be_made_is_named(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"file/scans can't be written to \(Not a dir.*--config\.data\.cache_dir"
    ):
        _scan(source, tmp_path / "file")


def test_what_was_undecodable_is_tried_again(damaged, tmp_path):
    """Nothing else is tried until one decodes: a changed good image isn't noticed before that."""
    source = opened.folder(damaged, "train")
    first = _scan(source, tmp_path)
    (damaged / "train/a/00.png").write_bytes(_png(_noise(4, 5, 9)))
    assert _scan(source, tmp_path) == first
    (damaged / "train/a/cut.jpg").write_bytes(_png(_noise(9, 7)))
    repaired = _scan(source, tmp_path)
    assert repaired.undecodable == first.undecodable[1:]
    assert repaired.class_counts == (26, 25)
    bad = {image.index for image in repaired.undecodable}
    good = [i for i in range(len(source)) if i not in bad]
    np.testing.assert_allclose(repaired.mean_rgb, _by_numpy(source, good), rtol=1e-12)
    assert _scan(source, tmp_path) == repaired


def test_a_kept_scan_names_the_paths_of_today(damaged, tmp_path):
    first = _scan(opened.folder(damaged, "train"), tmp_path)
    moved = opened.folder(damaged.rename(tmp_path / "elsewhere"), "train")
    second = _scan(moved, tmp_path)
    assert second.mean_rgb == first.mean_rgb
    saved = json.loads(scan.cache_path(moved, str(tmp_path)).read_text())
    for found in (
        (image.key for image in second.undecodable),
        (image["key"] for image in saved["undecodable"]),
    ):
        assert all(key.startswith(str(tmp_path / "elsewhere/train/a/")) for key in found)


def test_a_scan_of_another_number_of_images_is_not_taken(source, tmp_path):
    whole = _scan(source, tmp_path)
    fewer = Subset(source, np.arange(3))
    path = scan.cache_path(fewer, str(tmp_path))
    shutil.copy(scan.cache_path(source, str(tmp_path)), path)
    assert len(_scan(fewer, tmp_path).sizes) == 3 < len(whole.sizes)


def test_a_killed_scan_leaves_no_cache(tmp_path):
    fill(tmp_path, {"photo.png": _png(_noise(800, 800)), "train/a/0.png": _png(_noise(2, 2))})
    for i in range(1, 400):
        (tmp_path / f"train/a/{i}.png").symlink_to(tmp_path / "photo.png")
    code = (
        "import sys\n"
        "from vgg_jax.data import scan\n"
        "from vgg_jax.data.specs import ScanOptions\n"
        "from vgg_jax.data.sources.folder import FolderSource\n"
        "from vgg_jax.data.specs import DataSpec\n"
        "sys.stderr.isatty = lambda: True\n"  # Otherwise there is no bar.
        f"source = FolderSource(DataSpec('folder', {str(tmp_path)!r}, 'train', '', ''), 'train')\n"
        f"scan.scan(source, 'many', ScanOptions({str(tmp_path / 'cache')!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "cache/scans").is_dir():  # It is made just before the pass.
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list((tmp_path / "cache/scans").iterdir()) == []


# A scan that is interrupted.


def _many(root):
    """Writes 800 small images, two of which are undecodable."""
    pictures = [_png(_noise(4 + seed, 5, seed=seed)) for seed in range(7)]
    files = {f"train/{'ab'[i % 2]}/{i:03d}.png": pictures[i % 7] for i in range(800)}
    return fill(root, files | {"train/a/002.png": b"", "train/b/777.png": b"text"})


@pytest.fixture
def many(tmp_path):
    """The images of `_many`."""
    return _many(tmp_path)


def _interrupt(folder, at, number=signal.SIGKILL, **options):
    """Returns the path of what a scan has kept that a signal ended, and its number of images."""
    process = interrupted_scan.begin(folder, at=at, number=number, **options)
    process.communicate()
    assert process.returncode == -number
    source = opened.folder(folder, "train")
    path = scan_files.unfinished_path(source, str(folder / "cache"))
    assert list((folder / "cache/scans").glob("*.json")) == [path]
    return path, json.loads(path.read_text())["count"]


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory):
    """The images of `_many`, with what a scan has kept that was killed near its end."""
    root = _many(tmp_path_factory.mktemp("killed") / "data")
    _, count = _interrupt(root, 700)
    assert 0 < count < 700
    return root


@pytest.fixture
def killed(killed_once, tmp_path):
    """A copy of `killed_once`, and the path of what its scan has kept."""
    root = shutil.copytree(killed_once, tmp_path / "data")
    path = scan_files.unfinished_path(opened.folder(root, "train"), str(root / "cache"))
    assert path.exists()
    return root, path


def test_a_killed_scan_goes_on_and_finds_the_same_to_the_bit(killed, capsys):
    root, path = killed
    _goes_on(root, json.loads(path.read_text())["count"], capsys, num_workers=0)


def test_a_killed_scan_by_worker_processes_goes_on_and_finds_the_same(many, capsys):
    _, count = _interrupt(many, 700, num_workers=2)
    assert 0 < count < 700
    _goes_on(many, count, capsys, num_workers=1)


def _goes_on(many, count, capsys, num_workers):
    """Ends a scan that was interrupted, and compares it with one that was not."""
    assert 0 < count < 800
    source = opened.folder(many, "train")
    found = _scan(source, many / "cache", num_workers=num_workers)
    assert capsys.readouterr().out == f"The scan goes on at {count} of 800 test images.\n"
    whole = _scan(source, many / "whole")
    assert found == whole
    np.testing.assert_array_equal(found.sizes, whole.sizes)
    name = f"{source.contents_key}.json"
    assert os.listdir(many / "cache/scans") == [name]
    finished, expected = (many / folder / "scans" / name for folder in ("cache", "whole"))
    assert finished.read_bytes() == expected.read_bytes()


def test_a_scan_may_be_interrupted_again_and_again(many, capsys):
    counts = [
        _interrupt(many, at, number)[1]
        for at, number in ((400, signal.SIGTERM), (600, signal.SIGINT), (790, signal.SIGKILL))
    ]
    assert counts == sorted({*counts})
    assert 0 < counts[0] < 400
    _goes_on(many, counts[-1], capsys, num_workers=0)


def test_what_was_undecodable_before_the_interruption_is_tried_again(killed, capsys):
    many, _ = killed
    source = opened.folder(many, "train")
    (many / "train/a/002.png").write_bytes(_png(_noise(9, 7)))
    found = _scan(source, many / "cache")
    assert capsys.readouterr().out == ""  # It began again.
    assert found == _scan(source, many / "whole")
    assert [image.key[-7:] for image in found.undecodable] == ["777.png"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "{}",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"count": ', '"count": 1'),
        lambda text: text.replace('"rgb_sum": [\n    ', '"rgb_sum": [\n    1'),
    ],
    ids=["empty", "another", "cut", "count", "sum"],
)
def test_damaged_results_of_a_killed_scan_are_not_taken(killed, change, capsys):
    many, path = killed
    assert change(path.read_text()) != path.read_text()
    path.write_text(change(path.read_text()))
    source = opened.folder(many, "train")
    assert _scan(source, many / "cache") == _scan(source, many / "whole")
    assert capsys.readouterr().out == ""


def test_what_a_killed_scan_found_in_other_images_is_not_taken(killed, capsys):
    many, path = killed
    fewer = Subset(opened.folder(many, "train"), np.arange(790))
    path.rename(scan_files.unfinished_path(fewer, str(many / "cache")))
    assert _scan(fewer, many / "cache") == _scan(fewer, many / "whole")
    assert capsys.readouterr().out == ""


def test_two_scans_at_the_same_time_find_the_same(many):
    both = [interrupted_scan.begin(many), interrupted_scan.begin(many)]
    means = [process.communicate()[0].splitlines()[-1] for process in both]
    source = opened.folder(many, "train")
    whole = _scan(source, many / "whole")
    assert means == [str(whole.mean_rgb)] * 2
    assert _scan(source, many / "cache") == whole
    assert os.listdir(many / "cache/scans") == [f"{source.contents_key}.json"]


def test_what_another_process_left_beside_a_finished_scan_is_removed(killed):
    many, path = killed
    kept = path.read_text()
    source = opened.folder(many, "train")
    found = _scan(source, many / "cache")
    path.write_text(kept)
    assert _scan(source, many / "cache") == found
    assert not path.exists()


# What is refused, and what is left out.


def test_decodable_splits_are_passed_on(damaged, tmp_path, capsys):
    for path in [*damaged.rglob("*.jpg"), *damaged.rglob("*.JPEG")]:
        path.unlink()
    train, val, mean_rgb, class_counts = _check(damaged, tmp_path, "refuse")
    labels = [train.label(index) for index in range(len(train))]
    assert class_counts == tuple(np.bincount(labels, minlength=len(train.class_names)))
    assert (type(train), type(val.source)) == (FolderSource, FolderSource)
    np.testing.assert_allclose(mean_rgb, _by_numpy(train), rtol=1e-12)
    assert capsys.readouterr() == ("", "")


def test_both_splits_are_refused_at_once(damaged, tmp_path):
    lines = _message(damaged, tmp_path / "cache", "refuse").splitlines()
    assert lines[0] == "3 of the 53 training images can't be decoded:"
    assert lines[1].startswith(f"    {damaged}/train/a/cut.jpg: OSError: ")
    assert lines[2] == f"    {damaged}/train/a/empty.jpg: an empty file"
    assert lines[3] == f"    {damaged}/train/a/text.jpg: of no known format"
    assert lines[4] == "3 of the 5 validation images can't be decoded:"
    assert lines[5].startswith(f"    {damaged}/val/b/cut.JPEG: ")
    assert lines[8] == (
        "Repair or remove them, or go on without them: --config.data.undecodable=leave_out."
    )


def test_of_many_five_are_named_and_the_file_has_all(damaged, tmp_path):
    fill(damaged, {f"train/b/bad{i}.jpg": b"bad" for i in range(1200)})
    message = _message(damaged, tmp_path, "refuse")
    assert "1,203 of the 1,253 training images" in message
    assert "bad0.jpg" in message
    assert "bad1.jpg" in message
    assert "bad2" not in message
    path = scan.cache_path(opened.folder(damaged, "train"), str(tmp_path))
    assert f"    and 1,198 more: see {path}\n" in message
    assert len(json.loads(path.read_text())["undecodable"]) == 1203


def test_what_is_left_out_is_counted(damaged, tmp_path, capsys):
    whole = opened.folder(damaged, "train")
    found = _check(damaged, tmp_path, "leave_out")
    train, val, mean_rgb, class_counts = found
    output = capsys.readouterr().out
    names = [f"{damaged}/train/a/{name}.jpg" for name in ("cut", "empty", "text")]
    path = scan.cache_path(whole, str(tmp_path))
    assert output.splitlines()[0] == (
        "3 of the 53 training images can't be decoded and are left out: "
        f"{', '.join(names)}. {path} lists all."
    )
    assert output.splitlines()[1].startswith("3 of the 5 validation images can't be decoded")
    assert len(output.splitlines()) == 2
    assert (len(train), len(val)) == (50, 2)
    assert sum(class_counts) == 50
    assert train.class_names == whole.class_names
    assert train.fingerprint != whole.fingerprint
    np.testing.assert_allclose(mean_rgb, _by_numpy(train), rtol=1e-12)  # This decodes them all.
    again, *_ = _check(damaged, tmp_path, "leave_out")
    assert again.fingerprint == train.fingerprint


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_nothing_decodable_is_refused(damaged, tmp_path, split):
    for path in (damaged / split).rglob("*.png"):
        path.write_bytes(b"no image")
    name = {"train": "training", "val": "validation"}[split]
    count = {"train": 53, "val": 5}[split]
    message = _message(damaged, tmp_path, "leave_out")
    assert f"{count} of the {count} {name} images can't be decoded" in message
    assert "No image is left" in message


def test_a_class_of_nothing_decodable_is_named(damaged, tmp_path):
    fill(damaged, {"train/cat/1.jpg": b"x", "train/cat/2.jpg": b"", "val/cat/1.png": b"x"})
    message = _message(damaged, tmp_path, "leave_out")
    assert message.startswith("No training image of these classes can be decoded: cat.\n")
    assert f"{damaged}/train/a/cut.jpg" in message
    assert "every split" in message
    # A validation split may lack a class.
    (damaged / "train/cat/1.jpg").write_bytes(_png(_noise(3, 3)))
    train, val, *_ = _check(damaged, tmp_path, "leave_out")
    assert {val.source[i].label for i in range(len(val.source))} == {0, 1}
    assert {train[i].label for i in range(len(train))} == {0, 1, 2}


def test_a_class_that_a_subset_lacks_is_not_to_blame(damaged, tmp_path):
    train, val = (opened.folder(damaged, split) for split in ("train", "val"))
    only_a = Subset(train, np.arange(28))
    assert {only_a.label(i) for i in range(28)} == {0}
    left, *_ = decodable.training_splits(
        only_a, val, ScanOptions(str(tmp_path), "leave_out", progress=False)
    )
    assert len(left) == 25


def test_other_images_of_equal_names_and_sizes_are_scanned_anew(tmp_path):
    for at, (name, colour) in enumerate([("one", (200, 0, 0)), ("two", (0, 0, 200))]):
        path = tmp_path / name / "train" / "a" / "1.bmp"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), colour).save(path)
        os.utime(path, (at, at))
        source = opened.folder(tmp_path / name, "train")
        assert _scan(source, tmp_path / "cache").mean_rgb == colour


def test_a_cache_with_another_mean_is_scanned_anew(source, tmp_path):
    first = _scan(source, tmp_path / "cache")
    path = scan.cache_path(source, str(tmp_path / "cache"))
    text, digit = path.read_text(), str(first.mean_rgb[0])[:3]
    assert digit in text
    path.write_text(text.replace(digit, f"9{digit[1:]}", 1))
    assert _scan(source, tmp_path / "cache") == first


@pytest.mark.parametrize("left", ["", "{}", '{"mean_rgb": [1', "null"])
def test_a_damaged_cache_is_scanned_anew(source, tmp_path, left):
    first = _scan(source, tmp_path / "cache")
    scan.cache_path(source, str(tmp_path / "cache")).write_text(left)
    assert _scan(source, tmp_path / "cache") == first
