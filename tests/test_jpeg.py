"""A crop of a JPEG is that of Pillow's pixels to the bit, decoded as far down as it needs."""

import io

import numpy as np
import pytest
import simplejpeg
from image_bytes import encoded
from PIL import Image, ImageOps

from vgg_jax.data import images, jpeg
from vgg_jax.errors import UndecodableError

KINDS = {
    "4:4:4": ("RGB", {"subsampling": 0}),
    "4:2:2": ("RGB", {"subsampling": 1}),
    "4:2:0": ("RGB", {"subsampling": 2}),
    "restarts": ("RGB", {"subsampling": 2, "restart_marker_blocks": 3}),
    "grey": ("L", {}),
    "RGB": ("RGB", {"keep_rgb": True}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
}
SHORTENED = [kind for kind in KINDS if kind != "progressive"]


def _photo(width, height, mode="RGB", seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def _crop(data, cut):
    return images.decode_crop(data, "photo", lambda size: cut)


def _cuts(size, number=12):
    rng = np.random.default_rng(1)
    return [images.random_cut(size, (48, 96), 32, rng) for _ in range(number)]


def _of_whole(data, cut):
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    return cut.of(upright)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(97, 131), (131, 97), (64, 200)])
def test_crops_are_those_of_the_whole_image(kind, size):
    mode, options = KINDS[kind]
    data = encoded(_photo(*size, mode), "JPEG", **options)
    for cut in _cuts(size):
        np.testing.assert_array_equal(_crop(data, cut), _of_whole(data, cut))


@pytest.mark.parametrize("sampling", ["440", "411"])  # Pillow doesn't write these.
def test_crops_are_those_of_the_whole_image_at_rare_samplings(sampling):
    data = simplejpeg.encode_jpeg(np.array(_photo(97, 131)), 90, "RGB", sampling)
    for cut in _cuts((97, 131)):
        np.testing.assert_array_equal(_crop(data, cut), _of_whole(data, cut))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "CMYK"])
@pytest.mark.parametrize("num_rows", [48, 131])
def test_good_files_do_not_need_pillow(kind, num_rows):
    mode, options = KINDS[kind]
    data = encoded(_photo(97, 131, mode), "JPEG", **options)
    rows = jpeg.rows(data, (97, 131), num_rows)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert len(rows) == num_rows
    np.testing.assert_array_equal(rows, whole[: len(rows)])


def test_a_size_that_pillow_reads_otherwise_is_left_to_it():
    data = encoded(_photo(97, 131), "JPEG")
    for size in ((97, 130), (96, 131), (131, 97), (97, 132)):
        for num_rows in (48, size[1]):
            assert jpeg.rows(data, size, num_rows) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_crops_of_turned_images_are_upright(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encoded(_photo(97, 131), "JPEG", exif=exif)
    size = (97, 131) if orientation < 5 else (131, 97)
    for cut in _cuts(size):
        np.testing.assert_array_equal(_crop(data, cut), _of_whole(data, cut))


def test_the_place_of_a_crop_is_drawn_once():
    rng, same = (np.random.default_rng(5) for _ in range(2))
    data = encoded(_photo(97, 131), "JPEG")
    images.decode_crop(data, "photo", lambda size: images.random_cut(size, (48, 96), 32, rng))
    images.random_cut((97, 131), (48, 96), 32, same)
    assert rng.integers(2**62) == same.integers(2**62)


@pytest.mark.parametrize("kind", SHORTENED)
@pytest.mark.parametrize("num_rows", [1, 17, 48, 100, 120])
def test_the_first_rows_are_those_of_the_whole_image(kind, num_rows):
    mode, options = KINDS[kind]
    data = encoded(_photo(97, 131, mode), "JPEG", **options)
    rows = np.asarray(Image.open(io.BytesIO(jpeg.shortened(data, (97, 131), num_rows))))
    assert len(rows) < 131
    np.testing.assert_array_equal(
        rows[:num_rows], np.asarray(Image.open(io.BytesIO(data)))[:num_rows]
    )


def test_files_that_must_be_decoded_whole_are_not_shortened():
    photo = _photo(97, 131)
    data = encoded(photo, "JPEG")
    middle = len(data) - 200
    for whole in (
        encoded(photo, "JPEG", progressive=True),
        data[:-2],
        data[:middle],
        data[:middle] + b"\xff\x23" + data[middle:],
        data[:20],
    ):
        assert jpeg.shortened(whole, photo.size, 10) is None
    assert jpeg.shortened(data, photo.size, 131) is None
    assert jpeg.shortened(data, photo.size, 10) is not None


@pytest.mark.parametrize("damage", ["cut off", "a marker below the crop", "no header"])
def test_what_is_damaged_below_a_crop_is_refused_as_ever(damage):
    data = encoded(_photo(97, 131), "JPEG")
    middle = len(data) - 200
    data = {
        "cut off": data[:middle],
        "a marker below the crop": data[:middle] + b"\xff\x23" + data[middle:],
        "no header": data[:20],
    }[damage]
    _is_refused_as_ever(data)


def test_a_header_that_the_decoder_cannot_use_is_refused_as_ever():
    data = bytearray(encoded(_photo(97, 131), "JPEG"))
    scan = data.index(b"\xff\xda")
    data[scan + 6] = 0x33  # The first channel names tables that the file lacks.
    _is_refused_as_ever(bytes(data))


def _is_refused_as_ever(data):
    cut = images.cut_at((97, 131), 97, 0, 0, 32)
    with pytest.raises(UndecodableError) as whole:
        images.decode(data, "photo")
    with pytest.raises(UndecodableError) as cropped:
        _crop(data, cut)
    assert str(cropped.value) == str(whole.value)
