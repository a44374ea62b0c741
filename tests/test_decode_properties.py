"""Properties of decoding over sizes, modes, formats, orientations and damage, and of crops."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_bytes import encoded
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from vgg_jax.data import images
from vgg_jax.errors import UndecodableError

properties = settings(derandomize=True, deadline=None, max_examples=80, database=None)

LOSSLESS = [
    *((mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *((mode, "TIFF") for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK")),
    *((mode, "TIFF") for mode in ("I;16", "I;16B")),
    *((mode, "BMP") for mode in ("1", "L", "P", "RGB")),
    *((mode, "PPM") for mode in ("1", "L", "RGB", "I;16")),
    *((mode, "GIF") for mode in ("1", "L", "P")),
    *((mode, "WEBP") for mode in ("RGB", "RGBA")),
]
LOSSY = [
    *((mode, "JPEG") for mode in ("L", "RGB", "CMYK", "YCbCr")),
    *((mode, "WEBP") for mode in ("L", "RGB")),
    *((mode, "TIFF") for mode in ("YCbCr", "LAB")),
    ("RGB", "AVIF"),
    ("CMYK", "JPEG2000"),
]
SAVE_OPTIONS = {
    "WEBP": {"lossless": True, "exact": True},  # "exact" keeps RGB where alpha is 0.
    "PNG": {"compress_level": 1},
}

sides = st.integers(1, 300)
sizes = st.one_of(
    st.tuples(sides, sides),
    st.tuples(st.integers(1, 3), st.integers(300, 10_000)),
    st.tuples(st.integers(300, 10_000), st.integers(1, 3)),
)
seeds = st.integers(0, 2**32 - 1)


def _noise(mode, size, seed):
    """Returns an image of random values, and the RGB values that they stand for."""
    (width, height), rng = size, np.random.default_rng(seed)

    def draw(*shape):
        return rng.integers(0, 256, (height, width, *shape), np.uint8)

    match mode:
        case "1" | "L":
            grey = 255 * (draw() > 127).astype(np.uint8) if mode == "1" else draw()
            return Image.fromarray(grey).convert(mode), np.repeat(grey[..., None], 3, -1)
        case "I;16" | "I;16B":
            grey = rng.integers(0, 2**16, (height, width), np.uint16)
            data = grey.astype("<u2" if mode == "I;16" else ">u2").tobytes()
            grey_8 = np.rint(grey / 257).astype(np.uint8)
            return Image.frombytes(mode, size, data), np.repeat(grey_8[..., None], 3, -1)
        case "P" | "PA":
            colours, indices = rng.integers(0, 256, (256, 3), np.uint8), draw()
            image = Image.fromarray(indices)
            image.putpalette(colours.tobytes())
            return image.convert(mode), colours[indices]
        case "CMYK":
            image = Image.frombytes(mode, size, draw(4).tobytes())
            return image, np.asarray(image.convert("RGB"))
        case "LA":
            pixels = draw(2)
            return Image.fromarray(pixels), np.repeat(pixels[..., :1], 3, -1)
        case "RGB":
            return Image.fromarray(pixels := draw(3)), pixels
        case "RGBA" | "RGBX":
            pixels = draw(4)
            return Image.frombytes(mode, size, pixels.tobytes()), pixels[..., :3]


def _gradient(mode, size):
    """Returns a smooth image in a mode, and its RGB values as far as the mode holds them."""
    width, height = size
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    red, green = 60 + 120 * x, 60 + 120 * y
    blue = np.full_like(x, 120)
    rgb = Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB"), np.asarray(rgb)
    image = rgb.convert(mode)
    return image, np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("mode", "file_format"), LOSSLESS)
@settings(properties, max_examples=12)
@given(size=sizes, seed=seeds)
def test_what_is_stored_exactly_is_decoded_exactly(mode, file_format, size, seed):
    image, expected = _noise(mode, size, seed)
    options = SAVE_OPTIONS.get(file_format, {})
    decoded = images.decode(encoded(image, file_format, **options))
    assert (decoded.mode, decoded.size) == ("RGB", size)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(
    ("bits", "photometric", "stored", "expected"),
    [
        (12, 1, b"\x00\x0f\xff\x80\x0f\xff", [0, 255, 128, 255]),
        (16, 0, struct.pack("<4H", 0, 2**16 - 1, 2**15, 257), [255, 0, 127, 254]),
        (16, 1, struct.pack("<4H", 0, 2**16 - 1, 2**15, 257), [0, 255, 128, 1]),
    ],
)
def test_a_tiff_says_what_white_is(bits, photometric, stored, expected):
    tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1, 279: len(stored)}
    tags[273] = 10 + 12 * (len(tags) + 1) + 4  # The stored values come last.
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + stored
    assert np.asarray(images.decode(data))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(("mode", "file_format"), LOSSY)
@settings(properties, max_examples=8)
@given(size=st.tuples(st.integers(8, 300), st.integers(8, 300)))  # Smaller lossy WebP is far off.
def test_what_is_stored_roughly_is_decoded_roughly(mode, file_format, size):
    image, expected = _gradient(mode, size)
    decoded = images.decode(encoded(image, file_format, quality=95))
    assert (decoded.mode, decoded.size) == ("RGB", size)
    difference = np.abs(np.asarray(decoded, np.int32) - expected)
    assert difference.mean() < 4
    assert np.percentile(difference, 90) < 10


@properties
@given(size=sizes, crop_px=st.integers(1, 64), more=st.integers(0, 64), seed=seeds)
def test_any_image_gives_crops(size, crop_px, more, seed):
    image, _ = _noise("RGB", size, seed)
    scale = crop_px + more
    crops = [
        images.random_cut(image.size, (crop_px, scale), crop_px, np.random.default_rng(seed)).of(
            image
        ),
        images.centre_crop(image, scale, crop_px),
    ]
    for crop in crops:
        assert (crop.shape, crop.dtype) == ((crop_px, crop_px, 3), np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (10_000, 10), (10, 10_000), (65_500, 1)])
def test_the_papers_crops_of_extreme_images(size):
    """At S = 512 the second image would be 512,000 px long, but only the crop is ever made."""
    image = Image.new("RGB", size, (9, 99, 199))
    rng = np.random.default_rng(0)
    for crop in (
        images.random_cut(image.size, (256, 512), 224, rng).of(image),
        images.centre_crop(image, 512, 224),
    ):
        np.testing.assert_array_equal(crop, np.full((224, 224, 3), (9, 99, 199)))


# Animations, 16 bits per channel, 32 bits.


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(file_format):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(images.decode(data), frames[0], atol=1)  # Pillow's WebP is lossy.


def _png(width, height, bits, colour_type, rows):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_a_channel(colour_type, channels):
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7, channels), np.uint16)
    rows = [row.astype(">u2").tobytes() for row in values]
    decoded = np.asarray(images.decode(_png(7, 5, 16, colour_type, rows)), np.int32)
    rgb = values[..., :3] if channels >= 3 else np.repeat(values[..., :1], 3, -1)
    assert np.max(np.abs(decoded - rgb / 257)) <= 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_have_no_white(mode):
    data = encoded(Image.new(mode, (3, 3), 1), "TIFF")
    with pytest.raises(UndecodableError, match=f"32-bit values, mode {mode}"):
        images.decode(data)


# EXIF.


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),  # It is stored lying on its left side.
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("RGB", "PNG"), ("L", "PNG"), ("I;16", "PNG"), ("P", "PNG"), ("RGB", "WEBP"), ("RGB", "TIFF")],
)
def test_an_orientation_is_applied(mode, file_format, orientation):
    image, stored = _noise(mode, (13, 7), 0)
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(image, file_format, exif=_exif(orientation), **options)
    np.testing.assert_array_equal(images.decode(data), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photographs_orientation_is_applied(orientation):
    stored = np.kron(
        np.array([[30, 90, 150], [200, 60, 240]], np.uint8), np.ones((16, 16), np.uint8)
    )
    data = encoded(Image.fromarray(stored), "JPEG", exif=_exif(orientation))
    decoded = np.asarray(images.decode(data), np.int32)[..., 0]
    assert np.max(np.abs(decoded - UPRIGHT[orientation](stored).astype(np.int32))) <= 8


def _raw_profile(exif):
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    return info


XMP = b'<rdf:Description tiff:Orientation="6"/>'


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"xmp": XMP}),
        ("WEBP", {"xmp": XMP}),
        ("TIFF", {"tiffinfo": {700: XMP}}),
        ("PNG", {"pnginfo": _raw_profile(_exif(6))}),
    ],
)
def test_an_orientation_beside_exif_is_applied_to_crops_too(file_format, options):
    data = encoded(_gradient("RGB", (20, 10))[0], file_format, **options)
    decoded = images.decode(data)
    assert decoded.size == (10, 20)
    by_pillow = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decoded, by_pillow)
    crop = images.decode_crop(data, "", lambda size: images.centre_cut(size, 10, 10))
    np.testing.assert_array_equal(crop, images.centre_crop(by_pillow, 10, 10))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage that is no TIFF header",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\x00\x01\x01\x12\x00\x04\xff\xff\xff\xff\x00",
        _exif(6)[:-9],
        _exif(0),
        _exif(9),
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04top\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_no_harm(file_format, exif):
    image, _ = _gradient("RGB", (20, 10))
    plain = images.decode(encoded(image, file_format))
    np.testing.assert_array_equal(images.decode(encoded(image, file_format, exif=exif)), plain)


@properties
@given(garbage=st.binary(max_size=60), cut=st.integers(0, 40))
def test_garbage_in_exif_does_no_harm(garbage, cut):
    image, _ = _gradient("L", (9, 9))
    decoded = images.decode(encoded(image, "JPEG", exif=_exif(1)[:cut] + garbage))
    assert sorted(decoded.size) == [9, 9]


# Damage.


def _decodes_or_raises(data):
    """Returns whether data decodes. Any other error and any warning fail the test."""
    try:
        image = images.decode(data)
    except UndecodableError:
        return False
    assert image.mode == "RGB"
    assert min(image.size) >= 1
    return True


FILES = {
    "grey JPEG": encoded(_noise("L", (17, 9), 0)[0], "JPEG"),
    "CMYK JPEG": encoded(_noise("CMYK", (17, 9), 0)[0], "JPEG"),
    "progressive JPEG": encoded(_noise("RGB", (17, 9), 0)[0], "JPEG", progressive=True),
    "JPEG with EXIF": encoded(_noise("RGB", (17, 9), 0)[0], "JPEG", exif=_exif(6)),
    "PNG": encoded(_noise("RGBA", (17, 9), 0)[0], "PNG", exif=_exif(6)),
    "palette PNG": encoded(_noise("P", (17, 9), 0)[0], "PNG", transparency=b"\x80\xff\x10"),
    "GIF": encoded(_noise("P", (17, 9), 0)[0], "GIF", transparency=1),
    "BMP": encoded(_noise("RGB", (17, 9), 0)[0], "BMP"),
    "WebP": encoded(_noise("RGBA", (17, 9), 0)[0], "WEBP"),
    "TIFF": encoded(_noise("RGB", (17, 9), 0)[0], "TIFF"),
    "TIFF by LZW": encoded(_noise("L", (17, 9), 0)[0], "TIFF", compression="tiff_lzw"),
    "16-bit TIFF": encoded(_noise("I;16", (17, 9), 0)[0], "TIFF"),
    "PPM": encoded(_noise("RGB", (17, 9), 0)[0], "PPM"),
    "AVIF": encoded(_noise("RGBA", (17, 9), 0)[0], "AVIF", exif=_exif(6)),
}
FRAMES = {"save_all": True, "append_images": [_noise("RGB", (17, 9), seed)[0] for seed in (1, 2)]}
MORE_FILES = FILES | {
    **{
        f"animated {file_format}": encoded(_noise("RGB", (17, 9), 0)[0], file_format, **FRAMES)
        for file_format in ("GIF", "PNG", "WEBP", "AVIF")
    },
    "lossless WebP": encoded(_noise("RGBA", (17, 9), 0)[0], "WEBP", lossless=True, exif=_exif(6)),
    "TIFF of a JPEG": encoded(_noise("RGB", (17, 9), 0)[0], "TIFF", compression="jpeg"),
    "64-bit TIFF": encoded(_noise("RGB", (17, 9), 0)[0], "TIFF", big_tiff=True),
    "JPEG 2000": encoded(_noise("RGB", (17, 9), 0)[0], "JPEG2000"),
    "JPEG 2000 of tiles": encoded(_noise("RGB", (17, 9), 0)[0], "JPEG2000", tile_size=(8, 8)),
    "JPEG 2000 without a box": encoded(_noise("L", (17, 9), 0)[0], "JPEG2000", no_jp2=True),
    "PPM in text": b"P3 2 2 255\n" + b"1 2 3 " * 4,
}
EDGES = [0, 1, 2, 127, 128, 255, 256, 4096, 16383, 32767, 65535, 2**16, 2**24 - 1, 2**31, 2**32 - 1]


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_decodes_or_raises(name):
    data = FILES[name]
    assert _decodes_or_raises(data)
    decodes = [_decodes_or_raises(data[:length]) for length in range(len(data))]
    assert not any(decodes[: len(data) // 2])


@pytest.mark.parametrize("name", MORE_FILES)
@settings(properties, max_examples=24)
@given(data=st.data())
def test_a_file_whose_header_lies_decodes_or_raises(name, data):
    """Numbers in the header become others, at which sizes, counts and offsets break."""
    damaged = bytearray(MORE_FILES[name])
    number = st.tuples(
        st.integers(0, min(len(damaged), 400) - 1),
        st.sampled_from(EDGES),
        st.sampled_from([1, 2, 4]),
        st.sampled_from(["little", "big"]),
    )
    for place, value, size, order in data.draw(st.lists(number, min_size=1, max_size=3)):
        damaged[place : place + size] = (value % 256**size).to_bytes(size, order)
    _decodes_or_raises(bytes(damaged))


@pytest.mark.parametrize("name", MORE_FILES)
@settings(properties, max_examples=24)
@given(data=st.data())
def test_a_file_with_bytes_changed_decodes_or_raises(name, data):
    damaged = bytearray(MORE_FILES[name])
    places = st.integers(0, len(damaged) - 1)
    for place, value in data.draw(
        st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)
    ):
        damaged[place] = value
    _decodes_or_raises(bytes(damaged))


@properties
@given(
    start=st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"RIFF",
            b"II*\0",
            b"P6 3 3 ",
        ]
    ),
    rest=st.binary(max_size=200),
)
def test_random_bytes_decode_or_raise(start, rest):
    _decodes_or_raises(start + rest)
