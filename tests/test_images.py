"""Decoding, and rescaled crops against Pillow's resize of the whole image."""

import concurrent.futures
import contextlib
import warnings

import numpy as np
import pytest
from image_bytes import encoded
from PIL import Image

from vgg_jax.data import images
from vgg_jax.errors import UndecodableError, UserError


def _noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def _coordinates(width, height):
    """Returns an image whose red is x and whose green is y."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((500, 375), 256, (341, 256)),
        ((375, 500), 256, (256, 341)),
        ((500, 375), 384, (512, 384)),
        ((224, 224), 512, (512, 512)),
        ((256, 300), 256, (256, 300)),
        ((1000, 3), 256, (85333, 256)),
        ((1, 1000), 224, (224, 224_000)),
        ((1601, 1600), 256, (256, 256)),
    ],
)
def test_the_shorter_side_becomes_the_scale(size, scale, expected):
    assert images.rescaled_size(size, scale) == expected


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((500, 375), 256),
        ((375, 500), 384),
        ((333, 500), 227),
        ((97, 211), 256),
        ((640, 63), 95),
        ((1201, 899), 233),
        ((64, 64), 64),
        ((31, 45), 64),
    ],
)
def test_a_crop_is_cut_out_of_the_rescaled_image(size, scale):
    image, crop_px = _noise(*size), 64
    width, height = images.rescaled_size(size, scale)
    whole = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.int32)
    rng = np.random.default_rng(0)
    corners = [(0, 0), (width - crop_px, 0), (0, height - crop_px), (width - 64, height - 64)]
    inside = [(int(rng.integers(width - 63)), int(rng.integers(height - 63))) for _ in range(8)]

    for left, top in corners + inside:
        crop = images.cut_at(image.size, scale, left, top, crop_px).of(image)
        assert crop.shape == (64, 64, 3)
        assert crop.dtype == np.uint8
        expected = whole[top : top + crop_px, left : left + crop_px]
        assert np.max(np.abs(crop - expected)) <= 1


def test_a_crop_with_ties_differs_by_their_rounding_alone():
    """At two thirds of a pixel per step, many values lie half-way between two grey levels.

    A tie may round either way in each of the two passes, which is two levels in all.
    """
    image = _noise(640, 64)
    whole = np.asarray(image.resize((960, 96), Image.Resampling.BILINEAR), np.int32)
    for left in range(0, 897, 128):
        crop = images.cut_at(image.size, 96, left, 16, 64).of(image)
        difference = crop - whole[16:80, left : left + 64]
        assert np.max(np.abs(difference)) <= 2
        assert np.mean(np.abs(difference) > 1) < 0.01


def test_a_crop_of_an_extreme_image_is_cut_without_rescaling_it_whole():
    image = _noise(2000, 2)
    crop = images.cut_at(image.size, 256, 255_744, 0, 256).of(image)
    assert crop.shape == (256, 256, 3)


def test_the_centre_crop_is_central():
    image = _noise(101, 64)  # At scale 64 nothing is resampled.
    pixels = np.asarray(image)
    np.testing.assert_array_equal(images.centre_crop(image, 64, 64), pixels[:, 18 : 18 + 64])
    np.testing.assert_array_equal(images.centre_crop(image, 64, 32), pixels[16:48, 34:66])
    tall = image.transpose(Image.Transpose.TRANSPOSE)
    np.testing.assert_array_equal(images.centre_crop(tall, 64, 64), np.asarray(tall)[18 : 18 + 64])


def test_random_crops_reach_every_place_and_flip_half():
    # At scale 64 nothing is resampled, so that a crop's pixels are coordinates.
    image, pixels = _coordinates(68, 64), np.asarray(_coordinates(68, 64))
    rng, places = np.random.default_rng(0), []
    for _ in range(800):
        crop = images.random_cut(image.size, (64, 64), 62, rng).of(image)
        flipped = bool(crop[0, 0, 0] > crop[0, 1, 0])
        left, top = int(crop[0, -1 if flipped else 0, 0]), int(crop[0, 0, 1])
        expected = pixels[top : top + 62, left : left + 62]
        np.testing.assert_array_equal(crop, expected[:, ::-1] if flipped else expected)
        places.append((left, top, flipped))

    assert set(places) == set(np.ndindex(7, 3, 2))
    flips = sum(flipped for _, _, flipped in places)
    assert abs(flips - 400) < 4 * np.sqrt(800 / 4)


def test_random_crops_scales_are_uniform_with_both_ends():
    # Red rises by 256 / S per pixel.
    image, rng, scales = _coordinates(256, 256), np.random.default_rng(0), []
    for _ in range(500):
        crop = images.random_cut(image.size, (32, 36), 32, rng).of(image).astype(int)
        scales.append(round(16 * 256 / abs(crop[16, 24, 0] - crop[16, 8, 0])))

    values, counts = np.unique(scales, return_counts=True)
    assert values.tolist() == [32, 33, 34, 35, 36]
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(500 * 0.2 * 0.8))


def test_a_random_crop_depends_on_its_generator_alone():
    image = _noise(300, 200)
    draw = [
        [images.random_cut(image.size, (64, 128), 64, rng).of(image) for _ in range(4)]
        for rng in map(np.random.default_rng, (5, 5, 6))
    ]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert np.any(np.stack(draw[0]) != np.stack(draw[2]))
    assert len({crop.tobytes() for crop in draw[0]}) == 4


def test_decode_keeps_rgb():
    image = _noise(17, 13)
    decoded = images.decode(encoded(image, "PNG"))
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF"])
def test_decode_grey(file_format):
    grey = Image.linear_gradient("L")
    decoded = images.decode(encoded(grey, file_format, quality=100))
    assert decoded.mode == "RGB"
    pixels = np.asarray(decoded, np.int32)
    assert np.max(np.abs(pixels - np.asarray(grey, np.int32)[..., None])) <= 2


def test_decode_16_bit_grey_keeps_the_range():
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = np.asarray(images.decode(encoded(Image.fromarray(grey), "PNG")), np.int32)
    assert np.max(np.abs(decoded - (grey / 257)[..., None])) <= 1


@pytest.mark.parametrize(
    ("file_format", "transparency"),
    [("PNG", None), ("PNG", 1), ("PNG", b"\x80\xff\x10"), ("GIF", None), ("GIF", 1)],
)
def test_decode_palette(file_format, transparency):
    colours = np.array([[200, 30, 60], [10, 220, 90], [70, 80, 250]], np.uint8)
    indices = np.random.default_rng(0).integers(0, 3, (12, 9), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    options = {} if transparency is None else {"transparency": transparency}

    decoded = images.decode(encoded(image, file_format, **options))

    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(decoded, colours[indices])


def test_decode_rgba_drops_alpha():
    rgb = np.asarray(_noise(12, 9))
    alpha = np.random.default_rng(1).integers(0, 256, (9, 12, 1), np.uint8)
    decoded = images.decode(encoded(Image.fromarray(np.concatenate([rgb, alpha], -1)), "PNG"))
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(decoded, rgb)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_decode_cmyk(file_format):
    image = Image.new("RGB", (16, 16), (200, 60, 20))
    decoded = images.decode(encoded(image.convert("CMYK"), file_format))
    assert decoded.mode == "RGB"
    np.testing.assert_allclose(np.asarray(decoded, np.int32), np.asarray(image, np.int32), atol=4)


@pytest.mark.parametrize("data", [b"", b"\xff", b"not an image", b"\xff\xd8\xff\xe0" + bytes(500)])
def test_decode_garbage_raises(data):
    with pytest.raises(UserError, match="not a readable image"):
        images.decode(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_decode_truncated_raises(file_format, part):
    data = encoded(_noise(64, 48), file_format)
    with pytest.raises(ValueError, match="not a readable image"):
        images.decode(data[: int(len(data) * part)])


def test_a_large_image_decodes_without_a_warning_and_a_bomb_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    large, bomb = (encoded(Image.new("RGB", (10, side)), "PNG") for side in (20, 21))
    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        decoded = list(pool.map(images.decode, [large] * 200))
    assert {image.size for image in decoded} == {(10, 20)}
    with pytest.raises(UserError, match="decompression bomb"):
        images.decode(bomb)


def test_a_real_bomb_is_refused_before_it_unfolds():
    with pytest.raises(UserError, match=r"1600000000 pixels.*decompression bomb"):
        images.decode(b"P6 40000 40000 255 ")


def test_warnings_that_are_not_pillows_stay():
    images.decode(encoded(Image.new("L", (2, 2)), "PNG"))
    with pytest.raises(UserWarning, match="ours"):  # Pytest makes errors of warnings.
        warnings.warn("ours", stacklevel=1)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_damaged_tiffs_print_nothing(compression, capfd):
    data = encoded(_noise(64, 64), "TIFF", compression=compression)
    for size in (len(data) - 1, len(data) // 2):
        for changed in (data[:size], data[:-150] + bytes(range(150)), data[:90] + b"9" * 3000):
            with contextlib.suppress(UndecodableError):
                images.decode(changed)
    assert capfd.readouterr() == ("", "")


def test_a_rescaled_image_that_would_be_too_large_is_refused():
    long = Image.new("RGB", (10, 20_000))
    assert images.rescale(long, 90).shape == (180_000, 90, 3)
    with pytest.raises(
        UserError, match=r"10 x 20,000 px, would become 100 x 200,000 px at a scale"
    ):
        images.rescale(long, 100)
    assert images.centre_crop(long, 100, 64).shape == (64, 64, 3)
