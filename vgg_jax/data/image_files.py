"""Image files: recognises them by their suffixes, and reads them as examples."""

import errno
import io
import os
import pathlib
import stat
from collections.abc import Iterator

from vgg_jax.data import decode_budget
from vgg_jax.data.source import Example
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files, gcs
from vgg_jax.storage.files import Path

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)

# Photos that Pillow can't decode. They count as images, so that none is left out unseen.
_CONVERTED = (".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw")

Inode = tuple[int, int]  # The device and the number of a folder on it.

# Folders of other programs: macOS's archives and Synology's previews.
_OF_PROGRAMS = ("__MACOSX", "@eaDir")


def is_hidden(name: str) -> bool:
    """Returns whether the name of a file or folder is one that programs hide."""
    return name.startswith(".") or name in _OF_PROGRAMS


def is_image(name: str) -> bool:
    """Returns whether the name of a file is that of an image, by its suffix, and isn't hidden."""
    return name.lower().endswith(SUFFIXES + _CONVERTED) and not is_hidden(name)


def is_folder(entry: os.DirEntry | pathlib.Path) -> bool:
    """Returns whether an entry of a folder is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # A link to itself, or a name that is too long.
        return False


def leads_nowhere(entry: os.DirEntry) -> bool:
    """Returns whether an entry of a folder is a link to what isn't there, or to itself."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def below(
    folder: pathlib.Path, prefix: str = "", above: tuple[Inode, ...] = ()
) -> Iterator[gcs.Entry]:
    """Yields the images in a folder on a disk and in its subfolders, with links to folders.

    Links that lead nowhere, named pipes and the like are among them, so that reading names them.

    Args:
      folder: The folder.
      prefix: What precedes the names that are yielded.
      above: The folders that it lies in.

    Raises:
      UserError: A folder may not be read, or is a link to a folder that it lies in.
    """
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"The folder {files.printable(folder)} can't be read: {error.strerror}. Change its "
            "permissions, or remove it."
        ) from error
    inode = (status.st_dev, status.st_ino)
    if inode in above:
        raise UserError(
            f"{files.printable(folder)} is a link to a folder that it lies in. Remove the link."
        )
    for entry in entries:
        if is_folder(entry) and not is_hidden(entry.name):
            yield from below(folder / entry.name, f"{prefix}{entry.name}/", (*above, inode))
        elif is_image(entry.name) or (leads_nowhere(entry) and not is_hidden(entry.name)):
            about = _status(entry)
            yield gcs.Entry(f"{prefix}{entry.name}", about.st_size, about.st_mtime_ns)


def _status(entry: os.DirEntry) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # A link that leads nowhere.
        return entry.stat(follow_symlinks=False)


def read(path: Path, label: int) -> Example:
    """Reads an image file. The example's key is its path.

    It waits until there is room for the file: see `decode_budget`.

    Raises:
      UndecodableError: The file has a format that isn't read, is gone, is no regular file, may not
        be read, changes while it is read, or is larger than the budget has for one file.
      UserError: The file can't be read for another reason, which may pass.
    """
    key = files.printable(path)
    suffix = path.suffix.lower()
    if suffix in _CONVERTED:
        raise UndecodableError(key, f"{suffix[1:].upper()} isn't read; convert it to JPEG")
    try:
        data = _in_bucket(path, key) if files.in_bucket(path) else _on_disk(path, key)
        return Example(data, label, key)
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError) as error:
        raise UndecodableError(key, error.strerror or "it isn't there") from error
    except OSError as error:
        # A link to itself, a name that is too long, and a socket.
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO):
            raise UndecodableError(key, error.strerror) from error
        # For example a server's failure: the image may be good.
        raise UserError(f"{key} can't be read at present: {error.strerror or error}.") from error


def read_within(descriptor: int, begin: int, num_bytes: int, key: str) -> bytes:
    """Reads an image file that lies within another file, such as an archive.

    It waits until there is room for it, like `read`. Threads and processes may share the file.

    Args:
      descriptor: The other file, open for reading.
      begin: Position of the image's first byte in it.
      num_bytes: The image's size.
      key: The image's name in messages.

    Raises:
      UndecodableError: The image has more bytes than the budget has for one file.
      UserError: It can't be read at present.
    """
    _refuse_large(num_bytes, key)
    with decode_budget.room("file", num_bytes):
        try:
            data = os.pread(descriptor, num_bytes, begin)
        except OSError as error:
            raise UserError(f"{key} can't be read at present: {error.strerror}.") from error
    if len(data) != num_bytes:
        raise UserError(f"{key} ends before its last byte. Has its archive been overwritten?")
    return data


def read_stream(stream: io.BufferedIOBase, key: str) -> bytes:
    """Reads a stream of unknown length, such as stdin, to its end.

    Raises:
      UserError: It is longer than the budget has for one file.
    """
    data = stream.read(decode_budget.most_bytes("file") + 1)
    _refuse_large(len(data), key)
    return data


def _on_disk(path: pathlib.Path, key: str) -> bytes:
    # Opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            folder = stat.S_ISDIR(about.st_mode)
            raise UndecodableError(key, "a folder" if folder else "neither a file nor a folder")
        _refuse_large(about.st_size, key)
        with decode_budget.room("file", about.st_size):
            # What Linux makes up when it is read, in /proc, has no size and perhaps no end.
            data = _read_up_to(file, about.st_size + 1) if about.st_size else b""
        if len(data) != about.st_size:
            raise UndecodableError(key, "its size changed while it was read")
        return data


def _read_up_to(file: io.RawIOBase, num_bytes: int) -> bytes:
    data = file.read(num_bytes)
    while len(data) < num_bytes and (more := file.read(num_bytes - len(data))):
        data += more
    return data


def _in_bucket(path: Path, key: str) -> bytes:
    # Another request would be needed for its size.
    data = gcs.read(path, decode_budget.most_bytes("file") + 1)
    _refuse_large(len(data), key)
    with decode_budget.room("file", len(data)):
        return data


def _refuse_large(num_bytes: int, key: str) -> None:
    most = decode_budget.most_bytes("file")
    if num_bytes > most:
        raise UndecodableError(
            key,
            f"its file has more than {most / 1e6:,.0f} MB; raise {decode_budget.KEY} to allow it",
        )
