"""Made stand-ins for the oddities of ILSVRC's images (configs/README.md) are decoded as said there.

What torchvision does is Pillow's `convert("RGB")`. What TensorFlow does with CMYK is computed here.
"""

import io
import warnings

import numpy as np
import opened
import pytest
from image_bytes import encoded
from PIL import Image
from small_runs import fill

from vgg_jax.data import images, scan
from vgg_jax.data.specs import ScanOptions

# An EXIF tag of 2,555,904 bytes, of which none is there: many tools warn of it.
CORRUPT_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\0\0\0\x07\0\x27\0\0\0\0\xff\xff\0\0\0\0"


def _blocks(channels, side=64):
    """Draws blocks of 16 px, each of one colour, which JPEG keeps almost exactly."""
    values = np.random.default_rng(0).integers(0, 256, (side // 16, side // 16, channels), np.uint8)
    return values.repeat(16, 0).repeat(16, 1)


def _four_channels(stored, transform):
    """Encodes the channels that a file of four stores.

    Args:
      stored: uint8 (h, w, 4).
      transform: That of Adobe's marker: 0 for CMYK, 2 for YCCK. None for CMYK without a marker.
    """
    image = Image.fromarray(255 - stored, "CMYK")  # Pillow inverts them when it writes.
    data = bytearray(encoded(image, "JPEG", quality=100))
    begin = data.index(b"Adobe") - 4
    if transform is None:
        del data[begin : begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")]
    else:
        data[begin + 15] = transform
    return bytes(data)


def _stored_cmyk(stored, transform):
    """Returns the C, M, Y and K that libjpeg gives, as they are stored."""
    if transform != 2:
        return stored
    rgb = np.asarray(Image.fromarray(stored[..., :3], "YCbCr").convert("RGB"))
    return np.concatenate([255 - rgb, stored[..., 3:]], axis=-1)


def _by_tensorflow(cmyk, *, is_inverted):
    """Computes RGB as TensorFlow's decode_jpeg does. It inverts if there is Adobe's marker."""
    ink = cmyk.astype(np.int32) if is_inverted else 255 - cmyk.astype(np.int32)
    return ink[..., :3] * ink[..., 3:] // 255


def _by_torchvision(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
def test_four_inks_are_those_of_torchvision_and_tensorflow(transform):
    stored = _blocks(4)
    data = _four_channels(stored, transform)
    decoded = np.asarray(images.decode(data))
    np.testing.assert_array_equal(decoded, _by_torchvision(data))
    expected = _by_tensorflow(_stored_cmyk(stored, transform), is_inverted=True)
    assert np.max(np.abs(decoded - expected)) <= 1


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_four_inks_without_adobes_marker_are_read_as_with_it_like_torchvisions():
    stored = _blocks(4)
    data = _four_channels(stored, None)
    decoded = np.asarray(images.decode(data))
    np.testing.assert_array_equal(decoded, _by_torchvision(data))
    assert np.max(np.abs(decoded - _by_tensorflow(stored, is_inverted=True))) <= 1
    assert np.max(np.abs(decoded - _by_tensorflow(stored, is_inverted=False))) > 100


def test_grey_has_three_equal_channels():
    grey = _blocks(1)[..., 0]
    decoded = np.asarray(images.decode(encoded(Image.fromarray(grey), "JPEG", quality=100)))
    assert decoded.shape == (64, 64, 3)
    assert np.max(np.abs(decoded - grey[..., None].astype(np.int32))) <= 1
    assert np.ptp(decoded, axis=-1).max() == 0


def _read_exif_by_pillow(data):
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # `images` has set a filter that stays.
        Image.open(io.BytesIO(data)).getexif()


def test_a_corrupt_exif_of_which_pillow_warns_says_nothing():
    picture = Image.fromarray(_blocks(3))
    data = encoded(picture, "JPEG", exif=CORRUPT_EXIF)
    with pytest.warns(UserWarning, match="Skipping tag"):
        _read_exif_by_pillow(data)
    np.testing.assert_array_equal(images.decode(data), images.decode(encoded(picture, "JPEG")))


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.usefixtures("parsed_flags")
def test_a_folder_of_all_of_them_is_scanned_and_cropped_like_any_other(tmp_path, capfd):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture, upright = Image.fromarray(_blocks(3, 128)[:64]), (128, 64)
    oddities = {
        "n01739381/n01739381_1309.JPEG": (_four_channels(_blocks(4), 0), (64, 64)),
        "n02077923/n02077923_14822.JPEG": (_four_channels(_blocks(4), 2), (64, 64)),
        "n02105855/n02105855_2933.JPEG": (encoded(Image.fromarray(_blocks(4)), "PNG"), (64, 64)),
        "n02105855/grey.JPEG": (encoded(Image.fromarray(_blocks(1)[..., 0]), "JPEG"), (64, 64)),
        "n02105855/lying.JPEG": (encoded(picture, "JPEG", exif=exif.tobytes()), upright),
        "n02105855/warns.JPEG": (encoded(picture, "JPEG", exif=CORRUPT_EXIF), (64, 128)),
    }
    fill(tmp_path / "train", {name: data for name, (data, _) in oddities.items()})
    source = opened.folder(tmp_path, "train")
    found = scan.scan(source, "test", ScanOptions(str(tmp_path / "cache"), progress=False))
    assert found.undecodable == ()
    sizes = {source.name(i): tuple(found.sizes[i].tolist()) for i in range(len(source))}
    assert sizes == {name: size for name, (_, size) in oddities.items()}
    for index in range(len(source)):
        image = images.decode(source[index].image)
        cut = images.cut_at(image.size, 48, 5, 7, 32)
        crop = images.decode_crop(source[index].image, "test", lambda size, cut=cut: cut)
        np.testing.assert_array_equal(crop, cut.of(image))
    assert capfd.readouterr() == ("", "")


def test_the_png_that_calls_itself_jpeg_loses_its_alpha_as_in_torchvision():
    data = encoded(Image.fromarray(_blocks(4)), "PNG")
    decoded = np.asarray(images.decode(data))
    np.testing.assert_array_equal(decoded, _blocks(4)[..., :3])
    np.testing.assert_array_equal(decoded, _by_torchvision(data))
