"""Decoding takes no more memory than its budget, and no more than the headers were read to need."""

import os
import signal
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from image_bytes import encoded
from PIL import Image, TiffImagePlugin

from vgg_jax import base_config
from vgg_jax.data import av1_frames, decode_budget, images
from vgg_jax.errors import UndecodableError

MB = 2**20


@pytest.fixture
def budget():
    """Sets the budget of this process; the default is restored."""
    yield decode_budget.set_bytes
    decode_budget.set_bytes(decode_budget.DEFAULT_BYTES)


def _webp_header(width, height):
    """Returns the first 30 bytes of a WebP file, without pixels."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas


def _tiff(width, height, *more):
    """Returns a TIFF without pixels; `more` are entries (tag, number of values, value)."""
    entries = sorted([(256, 1, width), (257, 1, height), (258, 1, 8), (262, 1, 1), *more])
    packed = b"".join(struct.pack("<HHII", tag, 4, n, value) for tag, n, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


def test_the_default_is_the_configs():
    assert base_config.get_config().data.decode_bytes == decode_budget.DEFAULT_BYTES


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_webp_header(97, 1_769_543), "97 x 1,769,543 px of WEBP may need"),
        (_webp_header(13_000, 13_000), "13,000 x 13,000 px of WEBP"),
        (_tiff(8, 8, (322, 1, 20_000), (323, 1, 20_000)), "8 x 8 px of TIFF may need"),
        (_tiff(8, 8, (273, 10**7, 0)) + bytes(10**7), "8 x 8 px of TIFF may need"),
        (
            _tiff(40_000, 8, (257, 100, 74)) + struct.pack("<100I", *[40_000] * 100),
            "40,000 x 40,000 px of TIFF may need",
        ),
        (b"P6 13000 13000 255 ", "13,000 x 13,000 px of PPM"),
        (b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">8IH", 256, 256, 0, 0, 1, 1, 0, 0, 4)
         + b"\7\1\1" * 4 + bytes(50), "256 x 256 px of JPEG2000 may need"),
    ],
    ids=["long WebP", "WebP", "tiles", "strips", "two heights", "PPM", "JPEG 2000 tiles"],
)  # fmt: skip
def test_an_image_that_needs_too_much_is_refused_by_its_header(budget, data, says):
    budget(512 * MB)
    with pytest.raises(UndecodableError, match=says) as caught:
        images.decode(data, "photo")
    assert "photo is not a readable image" in str(caught.value)
    assert "MB are allowed; raise data.decode_bytes (--decode_bytes of" in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (640, 480), (1000, 3)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("more", [{}, {"save_all": True}])
def test_the_frames_of_an_avif_are_found(size, mode, more):
    if more:
        more = {**more, "append_images": [Image.new(mode, size, "red")]}
    data = encoded(Image.new(mode, size), "AVIF", speed=10, **more)
    assert av1_frames.largest(data) == size
    for length in range(0, len(data), 7):
        av1_frames.largest(data[:length])


def test_an_avif_whose_container_claims_a_small_image_is_refused(budget):
    budget(64 * MB)
    data = encoded(Image.new("RGB", (2000, 1500)), "AVIF", speed=10)
    size = struct.pack(">II", 2000, 1500)
    with pytest.raises(UndecodableError, match="2,000 x 1,500 px of AVIF may need"):
        images.decode(data.replace(size, struct.pack(">II", 20, 15), 1))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {"method": 0}),
        ("AVIF", {"speed": 10}),
    ],
)
def test_photos_of_50_megapixels_fit_the_default(file_format, options):
    photo = Image.new("RGB", (8660, 5774), (90, 30, 60))
    assert images.decode(encoded(photo, file_format, **options)).size == photo.size


MEMORY = """
import pathlib
def memory(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
def peak_begins():
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")
"""


@pytest.mark.parametrize("num_threads", [1, 6])
def test_threads_together_take_no_more_than_the_budget(num_threads):
    """One image takes 80 MB. Six at once would take 480 MB."""
    code = f"""{MEMORY}
import concurrent.futures, io
from PIL import Image
from vgg_jax.data import av1_frames, decode_budget, images
decode_budget.set_bytes(256 * 2**20)
file = io.BytesIO()
Image.new("L", (4000, 4000)).save(file, "PNG")
def work():
    images.decode(file.getvalue()).histogram()
before = peak_begins()
with concurrent.futures.ThreadPoolExecutor({num_threads}) as threads:
    list(threads.map(decode_budget.with_room_kept, [work] * 2 * {num_threads}))
print(memory("VmHWM") - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert 50 * MB < int(found.stdout) < 192 * MB


WORKER = """
import sys, time
from vgg_jax.data import decode_budget
decode_budget.join(decode_budget.Address(*map(int, sys.argv[1:4])), 1)
print("begun", flush=True)
with decode_budget.room("pixels", int(sys.argv[4])):
    print("has room", flush=True)
    time.sleep(600)
"""


def _worker(num_bytes):
    command = [sys.executable, "-c", WORKER, *map(str, decode_budget.address()), str(num_bytes)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "begun\n"
    return worker


def test_a_worker_waits_for_room_that_another_process_has_and_leaves_it_when_it_is_killed(budget):
    budget(256 * MB)
    with decode_budget.room("pixels", 150 * MB):
        worker = _worker(100 * MB)
        os.set_blocking(worker.stdout.fileno(), False)
        threading.Event().wait(0.3)
        assert not worker.stdout.readline()
        os.set_blocking(worker.stdout.fileno(), True)
    assert worker.stdout.readline() == "has room\n"

    has_room = threading.Event()

    def take():
        with decode_budget.room("pixels", 150 * MB):
            has_room.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not has_room.wait(0.3)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert has_room.wait(10)
    thread.join()


def test_room_is_kept_until_the_work_on_the_image_is_done(budget):
    budget(16 * MB)
    data = encoded(Image.new("RGB", (1000, 1000)), "PNG")
    done = threading.Event()

    def other():
        images.decode(data)
        done.set()

    thread = threading.Thread(target=other)

    def work():
        images.decode(data)
        images.decode(data)  # The first one's room is given back before.
        thread.start()
        assert not done.wait(0.2)

    decode_budget.with_room_kept(work)
    assert done.wait(10)
    thread.join()


def test_more_threads_than_room_all_finish(budget):
    budget(16 * MB)
    data = encoded(Image.new("RGB", (300, 200)), "PNG")
    left = []

    def work():
        with decode_budget.room("file", 2_000_000):
            left.append(images.decode(data).size)

    def works():
        for _ in range(20):
            decode_budget.with_room_kept(work)

    threads = [threading.Thread(target=works) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert left == [(300, 200)] * 240


# What was measured, against the estimate.


def _photo(width=1000, height=800):
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x * y) % 97], -1).astype(np.uint8)
    return Image.fromarray(pixels)


def _files(monkeypatch):
    rgb = _photo()
    rgba, grey = rgb.copy(), rgb.convert("L")
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = exif.tobytes()
    yield "JPEG", rgb, {}
    yield "JPEG", rgb, {"progressive": True, "subsampling": 0, "exif": lying}
    yield "JPEG", rgb.convert("CMYK"), {"progressive": True, "subsampling": 0}
    yield "JPEG", grey, {"progressive": True}
    # The other method of Pillow takes almost a second.
    few = {n: rgb.quantize(n, Image.Quantize.FASTOCTREE) for n in (16, 8, 4)}
    for image in (rgb, rgba, grey, deep, few[16]):
        yield "PNG", image, {"exif": lying, "compress_level": 1}
    frames = {"save_all": True, "append_images": [few[8], few[4]]}
    yield "GIF", few[16], frames
    yield "BMP", rgb, {}
    for image in (rgb, rgba):
        yield "WEBP", image, {"method": 0, "exif": lying}
        yield "WEBP", image, {"method": 0, "lossless": True, "quality": 0}
    yield "WEBP", rgb, {"method": 0, **frames}
    yield "AVIF", rgb, {"speed": 10, "exif": lying}
    yield "AVIF", rgba, {"speed": 10, "subsampling": "4:4:4"}
    for image in (rgb, rgba, grey, deep):
        yield "JPEG2000", image, {}
    yield "JPEG2000", rgb, {"tile_size": (128, 128)}
    yield "PPM", rgb, {}
    yield "PPM", deep, {}
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 2**30)  # All in one strip.
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "lzma", "zstd"):
        yield "TIFF", rgb, {"compression": compression, "exif": exif}
    yield "TIFF", deep, {"compression": "tiff_lzw"}
    yield "TIFF", rgb.convert("CMYK"), {"compression": "packbits"}


MEASURE = f"""{MEMORY}
import sys
from vgg_jax.data import av1_frames, decode_budget, images
estimates, real = [], decode_budget.room
def room(use, num_bytes):
    estimates.append(num_bytes)
    return real(use, num_bytes)
decode_budget.room = room
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    before = peak_begins()
    images.decode(data)
    print(path.name, memory("VmHWM") - before, estimates.pop())
"""


def test_no_format_takes_more_than_was_read_from_its_header(tmp_path, monkeypatch):
    for number, (file_format, image, options) in enumerate(_files(monkeypatch)):
        data = encoded(image, file_format, **options)
        (tmp_path / f"{number:02}-{file_format}-{image.mode}".replace(";", "")).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\n")
    found = [line.split() for line in lines if line]
    assert len(found) == len(list(tmp_path.iterdir()))
    assert not [line for line in found if int(line[1]) > int(line[2])]
    assert not [line for line in found if int(line[2]) > 40 * 1000 * 800]
