"""Bad files through the real entry point: they are refused by name, or left out and counted."""

import json

import numpy as np
import pytest
from image_bytes import encoded
from PIL import Image
from small_runs import arguments, fill, run_process

pytestmark = pytest.mark.runs


def _noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def _rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


PHOTO = Image.fromarray(_noise(90, 120, 3))
GOOD = {
    "photo.jpg": encoded(PHOTO, "JPEG"),
    "cmyk.jpg": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "grey.jpg": encoded(PHOTO.convert("L"), "JPEG"),
    "palette.png": encoded(PHOTO.quantize(), "PNG", transparency=b"\x80\xff\x10"),
    "alpha.png": encoded(PHOTO.convert("RGBA"), "PNG"),
    "16-bit.png": encoded(Image.fromarray(_noise(70, 70).astype(np.uint16) * 257), "PNG"),
    "rotated.jpg": encoded(PHOTO, "JPEG", exif=_rotated()),
    "broken exif.jpg": encoded(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "smaller than the crop.png": encoded(PHOTO.resize((20, 31)), "PNG"),
    "one pixel.gif": encoded(PHOTO.crop((0, 0, 1, 1)), "GIF"),
    "long.png": encoded(Image.new("RGB", (10_000, 10), "red"), "PNG"),
    "a PNG.jpg": encoded(PHOTO, "PNG"),
}
BAD = {
    "bomb.ppm": (b"P6 40000 40000 255 ", "decompression bomb"),
    "empty.jpg": (b"", "an empty file"),
    "float.tif": (encoded(Image.new("F", (9, 9)), "TIFF"), "32-bit values, mode F"),
    "text.JPEG": (b"<html>404</html>", "of no known format"),
    "truncated.jpg": (encoded(PHOTO, "JPEG")[:3000], "truncated"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, with each file once in each split, and bad files in both classes."""
    root = tmp_path_factory.mktemp("images")
    files = GOOD | {name: data for name, (data, _) in BAD.items()}
    for split in ("train", "val"):
        fill(root / split, {f"{'ab'[i % 2]}/{name}": files[name] for i, name in enumerate(files)})
    return root


def _main(folder, workdir, *more, **environment):
    small = ("--config.batch_size=4", "--config.eval.batch_size=8", "--config.num_epochs=1")
    return run_process(*arguments(folder, workdir, "a_256", *small, *more), **environment)


def test_what_cannot_be_decoded_is_named_before_a_device_is_touched(folder, tmp_path):
    done = _main(folder, tmp_path / "run", JAX_PLATFORMS="nonsense")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    error = done.stderr[done.stderr.index("error: ") :]
    for split, name in (("train", "training"), ("val", "validation")):
        assert f"5 of the 17 {name} images can't be decoded:\n" in error
        for file, (_, reason) in BAD.items():
            (line,) = [line for line in error.splitlines() if f"/{split}/" in line and file in line]
            assert reason in line
    assert not any(name in error for name in GOOD)
    assert error.splitlines()[-1].endswith("--config.data.undecodable=leave_out.")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_decoded_is_left_out_and_the_rest_trains(folder, tmp_path):
    """A worker process decodes the images. With two classes the top-5 error is 0."""
    more = ("--config.data.undecodable=leave_out", "--config.data.num_workers=1")
    done = _main(folder, tmp_path / "run", *more)
    assert done.returncode == 0, done.stderr
    assert "5 of the 17 training images can't be decoded and are left out: " in done.stdout
    assert "5 of the 17 validation images can't be decoded and are left out: " in done.stdout
    assert "12 training and 12 validation images of 2 classes" in done.stdout
    assert "Warning" not in done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["last"]["num_images"] == 12
    assert result["last"]["step"] == 3
    assert result["last"]["top5_error"] == 0
    assert np.isfinite(result["last"]["loss"])


def test_one_class_alone_is_refused(folder, tmp_path):
    for split in ("train", "val"):
        path = tmp_path / "images" / split / "alone" / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(GOOD["photo.jpg"])
    done = _main(tmp_path / "images", tmp_path / "run", JAX_PLATFORMS="nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("error: The data set has only one class, alone")
