"""Files that are no images, change or never end: one line each, wherever they are read."""

import io
import os
import pathlib
import socket
import threading

import pytest
from PIL import Image

from vgg_jax.data import decode_budget, image_files, photos
from vgg_jax.data.scan import scan
from vgg_jax.data.sources.folder import FolderSource
from vgg_jax.data.specs import DataSpec, ScanOptions
from vgg_jax.errors import UndecodableError, UserError

OF_SYSFS = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")  # Says 4096, and has fewer.


def _socket(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def _sparse(path):
    with path.open("wb") as file:
        file.truncate(8 * 2**30)


MADE = {
    "sparse": (_sparse, "its file has more than 537 MB; raise data.decode_bytes"),
    "empty": (lambda path: path.touch(), "an empty file"),
    "pipe": (os.mkfifo, "neither a file nor a folder"),
    "socket": (_socket, "No such device or address"),
    "null": (lambda path: path.symlink_to("/dev/null"), "neither a file nor a folder"),
    "zero": (lambda path: path.symlink_to("/dev/zero"), "neither a file nor a folder"),
    "proc": (lambda path: path.symlink_to("/proc/self/pagemap"), "an empty file"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "dangling": (lambda path: path.symlink_to("nowhere.jpg"), "No such file or directory"),
    "below a file": (lambda path: path.symlink_to("/etc/passwd/x.jpg"), "Not a directory"),
    "too long": (lambda path: path.symlink_to("/" + "x" * 256), "File name too long"),
    "text": (lambda path: path.write_text("not an image"), "of no known format"),
}
if OF_SYSFS.exists():
    MADE["shrinks"] = (lambda path: path.symlink_to(OF_SYSFS), "its size changed while it was read")


@pytest.mark.parametrize("kind", MADE)
def test_predict_names_a_file_that_is_no_image(tmp_path, kind):
    make, says = MADE[kind]
    path = tmp_path / "x.jpg"
    make(path)
    Image.new("RGB", (9, 9)).save(tmp_path / "y.png")
    for arguments in ([str(path)], [str(tmp_path)]):
        (error,) = photos.find(arguments).examined()[1]
        assert error.startswith(f"{path} is not a readable image (")
        assert says in error
        assert "\n" not in error


def test_a_scan_names_all_of_them(tmp_path):
    folder = tmp_path / "val" / "a"
    folder.mkdir(parents=True)
    for kind, (make, _) in MADE.items():
        make(folder / f"{kind}.jpg")
    Image.new("RGB", (9, 9)).save(folder / "good.png")
    source = FolderSource(DataSpec("folder", str(tmp_path), "", "", ""), "val")
    found = scan(source, "test", ScanOptions(str(tmp_path / "cache"), progress=False))
    reasons = {pathlib.Path(image.key).stem: image.reason for image in found.undecodable}
    assert reasons.keys() == MADE.keys()
    for kind, (_, says) in MADE.items():
        assert says in reasons[kind]


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "esc\x1b[31m.jpg", "\udcff\udcfe.jpg", "=1+1.jpg", "x" * 251 + ".jpg"]
)
def test_any_name_is_printed_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no image")
    (error,) = photos.find([str(tmp_path)]).examined()[1]
    assert error.isprintable()
    assert "of no known format" in error


def _reason(path):
    try:
        image_files.read(path, 0)
        return ""
    except UndecodableError as error:
        return error.reason


def test_a_growing_file_is_named(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(2**22))
    stop = threading.Event()

    def grow():
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(bytes(2**12))
                file.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        reasons = [_reason(path) for _ in range(100)]
        assert "its size changed while it was read" in reasons
    finally:
        stop.set()
        thread.join()


def test_stdin_is_bounded():
    with open("/dev/zero", "rb") as endless:
        decode_budget.set_bytes(decode_budget.LEAST_BYTES)
        try:
            with pytest.raises(UserError, match=r"stdin is not .* more than 4 MB"):
                image_files.read_stream(endless, "stdin")
        finally:
            decode_budget.set_bytes(decode_budget.DEFAULT_BYTES)
    assert image_files.read_stream(io.BytesIO(b"image"), "stdin") == b"image"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["x.jpg", "folder"])
def test_what_may_not_be_read_is_named(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.touch()
    path.chmod(0)
    try:
        with pytest.raises(UserError, match=f"{name}.*Permission denied"):
            raise UserError(*photos.find([str(tmp_path)]).examined()[1])
    finally:
        path.chmod(0o700)


def test_a_folder_that_holds_itself_is_named(tmp_path):
    (tmp_path / "inner").symlink_to(tmp_path)
    with pytest.raises(UserError, match="inner is a link to a folder that it lies in"):
        photos.find([str(tmp_path)])


def test_images_beside_class_folders_are_named(tmp_path):
    (tmp_path / "val" / "a").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "val" / "a" / "x.png")
    for name in ("beside.png", ".hidden.png", "notes.txt"):
        (tmp_path / "val" / name).touch()
    (tmp_path / "val" / "b").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"beside its class folders: b, beside.png\. Move"):
        FolderSource(DataSpec("folder", str(tmp_path), "", "", ""), "val")
