"""The mean RGB against NumPy, and its cache."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from vgg_jax import images, mean, sources
from vgg_jax.errors import UserError


@pytest.fixture
def source(tmp_path):
    """Images of several sizes, lossless, grey among them; brightness differs with the size."""
    rng = np.random.default_rng(0)
    (tmp_path / "data/train/a").mkdir(parents=True)
    for i, (height, width) in enumerate([(3, 5), (40, 31), (120, 90), (1, 1)]):
        pixels = rng.integers(0, 60 * (i + 1), (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/train/a/{i}.png")
    Image.fromarray(pixels[..., 0] + 9).save(tmp_path / "data/train/a/grey.png")
    return sources.FolderSource(tmp_path / "data", "train")


def _by_numpy(source):
    def of_image(index):
        pixels = np.asarray(images.decode(source[index].image), np.float64)
        return pixels.reshape(-1, 3).mean(0)

    return np.mean([of_image(i) for i in range(len(source))], axis=0)


def _mean(source, cache):
    return mean.mean_rgb(source, str(cache), progress=False)


def test_every_image_weighs_the_same(source, tmp_path):
    np.testing.assert_allclose(_mean(source, tmp_path), _by_numpy(source), rtol=1e-12)


def test_the_channels_are_red_green_blue(tmp_path):
    (tmp_path / "train/a").mkdir(parents=True)
    Image.new("RGB", (4, 3), (200, 100, 50)).save(tmp_path / "train/a/1.png")
    Image.new("RGB", (9, 9), (100, 0, 40)).save(tmp_path / "train/a/2.png")
    assert _mean(sources.FolderSource(tmp_path, "train"), tmp_path) == (150, 50, 45)


def test_the_mean_is_computed_once(source, tmp_path):
    first = _mean(source, tmp_path / "cache")
    shutil.rmtree(tmp_path / "data")
    assert _mean(source, tmp_path / "cache") == first
    with pytest.raises(FileNotFoundError):
        _mean(source, tmp_path / "another")


def test_only_the_mean_is_left_in_the_cache(source, tmp_path):
    _mean(source, tmp_path / "cache")
    files = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files == [f"{source.fingerprint}.json"]


def test_another_index_is_computed_anew(source, tmp_path):
    first = _mean(source, tmp_path / "cache")
    Image.new("RGB", (7, 8), "white").save(tmp_path / "data/train/a/5.png")
    grown = sources.FolderSource(tmp_path / "data", "train")
    second = _mean(grown, tmp_path / "cache")
    assert second != first
    np.testing.assert_allclose(second, _by_numpy(grown), rtol=1e-12)
    half = sources.Subset(source, np.array([0, 2]))
    np.testing.assert_allclose(_mean(half, tmp_path / "cache"), _by_numpy(half), rtol=1e-12)


def test_the_cache_may_be_in_the_home_directory(source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _mean(source, "~/cache")
    assert (tmp_path / "cache" / "means").is_dir()


def test_an_undecodable_image_is_named_and_nothing_is_cached(source, tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "PNG")
    (tmp_path / "data/train/a/5.png").write_bytes(file.getvalue()[:60])
    with pytest.raises(UserError, match=r"train/a/5\.png is not a readable image"):
        _mean(sources.FolderSource(tmp_path / "data", "train"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
