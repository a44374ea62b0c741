"""The archives that ImageNet's owners give out, read in place.

`ILSVRC2012_img_train.tar` holds a tar for each class, and `ILSVRC2012_img_val.tar` the images. The
position of each image is found once and kept in `data.cache_dir`, until an archive changes.
"""

import hashlib
import os
import pathlib
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from vgg_jax.data import image_files
from vgg_jax.data.imagenet import classes, val_labels
from vgg_jax.data.imagenet.file_split import FileSplit, doubled, in_order, labels_of
from vgg_jax.data.imagenet.tar_headers import Archive
from vgg_jax.data.source import Example
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.storage import cache_folder, files, sealed_npz
from vgg_jax.system import progress_bar

NAMES = {"train": "ILSVRC2012_img_train.tar", "validation": "ILSVRC2012_img_val.tar"}

_INDEX = ("names", "labels", "begins", "sizes")


class _Version(NamedTuple):
    """The size of a file in bytes, and when it was last written."""

    size: int
    modified_ns: int


class TarSplit(FileSplit):
    """The images in one archive. Each process opens the archive itself."""

    def __init__(self, path: pathlib.Path, split: str, cache_dir: str) -> None:
        """Reads the index of the archive, or makes it.

        Args:
          path: The archive.
          split: "train" or "validation".
          cache_dir: The folder that keeps the index.

        Raises:
          UserError: The archive can't be read or is truncated; or its classes or the names of its
            images are not ImageNet's; or a class has no images, or two images have the same name;
            or the index can't be written.
        """
        self._path, self._opened = path.absolute(), None
        file = _OpenedFile(path)
        self._version = file.version
        index = _cached_index(self._path, file, split, cache_dir)
        self._begins, self._sizes = index["begins"], index["sizes"]
        modified = f"{split} {self._version}"
        super().__init__(classes.synsets(), index["names"], index["labels"], self._sizes, modified)

    def __getitem__(self, index: int) -> Example:
        """See `Source`."""
        key = files.printable(self._path / self.name(index))
        file = self._file()  # It stays open as long as this refers to it.
        data = image_files.read_within(
            file.descriptor, int(self._begins[index]), int(self._sizes[index]), key
        )
        return Example(data, self.label(index), key)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None}

    def _file(self) -> "_OpenedFile":
        # Two threads may both open it. The file of one of them is closed once that has read.
        opened = self._opened
        if opened is None:
            opened = _OpenedFile(self._path)
            if opened.version != self._version:
                raise UserError(
                    f"{self._path} has changed since this command began to read it. Start the "
                    "command again once the archive is complete."
                )
            self._opened = opened
        return opened


class _OpenedFile:
    """An archive that is open for reading. It is closed when nothing refers to it any more."""

    def __init__(self, path: pathlib.Path) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"{path} can't be read: {error.strerror}.") from error
        # At the end of the process, threads may still read it.
        weakref.finalize(self, os.close, self.descriptor).atexit = False
        about = os.fstat(self.descriptor)
        self.version = _Version(about.st_size, about.st_mtime_ns)


def _cached_index(
    path: pathlib.Path, file: _OpenedFile, split: str, cache_dir: str
) -> dict[str, np.ndarray]:
    name = hashlib.sha256(os.fsencode(path)).hexdigest()
    cache = cache_folder.path(cache_dir, "archives", f"{name}.npz")
    version = np.array(file.version, np.int64)
    try:
        known = sealed_npz.read(cache, (*_INDEX, "version"))
        if np.array_equal(known["version"], version):
            return known
    except Exception:  # It is absent or damaged: NumPy raises any of a dozen exceptions.
        pass
    cache_folder.make(cache.parent)  # It may fail, so it comes before the pass, which is long.
    try:
        found = _made_index(path, file, split)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Replace it.") from error
    sealed_npz.save(cache, found | {"version": version})
    return found


def _made_index(path: pathlib.Path, file: _OpenedFile, split: str) -> dict[str, np.ndarray]:
    archive = Archive(file.descriptor, 0, file.version.size, str(path))
    size_mb = -(-file.version.size // 10**6)
    with progress_bar.bar(size_mb, "MB", f"looking for the images in {path.name}") as bar:
        images = _Images(bar)
        if split == "train":
            for synset, class_archive in _class_archives(archive):
                images.add(class_archive, classes.synsets().index(synset))
        else:
            images.add(archive, -1)
        bar.update(size_mb - bar.n)
    arrays = images.arrays()
    if (found := doubled(arrays["names"])) is not None:
        name = arrays["names"][found[0]].decode("utf-8", "backslashreplace")
        raise UserError(f"{path} holds two images of the name {name}. Download it again.")
    if split != "train":
        names = [name.decode("utf-8", "backslashreplace") for name in arrays["names"].tolist()]
        synsets = val_labels.by_number(names, str(path))
        arrays["labels"] = labels_of(synsets, classes.synsets())
    order = in_order(arrays["names"], arrays["labels"])
    return {name: array[order] for name, array in arrays.items()}


class _Images:
    """The images that were found, in arrays, because objects would take four times the memory."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._parts: list[dict[str, np.ndarray]] = []

    def add(self, archive: Archive, label: int) -> None:
        images = []
        for member in archive.members():
            if image_files.is_image(member.name):
                images.append(member)
            if len(images) % 1000 == 0:
                self._bar.update(member.begin // 10**6 - self._bar.n)
        require(len(images) > 0, f"{archive.name} holds no images. Download it again.")
        self._parts.append(
            {
                "names": np.array([os.fsencode(image.name) for image in images], np.bytes_),
                "labels": np.full(len(images), label, np.int32),
                "begins": np.array([image.begin for image in images], np.int64),
                "sizes": np.array([image.size for image in images], np.int64),
            }
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate([part[name] for part in self._parts]) for name in _INDEX}


def _class_archives(archive: Archive) -> Iterator[tuple[str, Archive]]:
    """Yields the archive of each class, with its synset.

    Raises:
      UserError: One isn't of ImageNet's thousand classes, occurs twice or is missing.
    """
    missing = {*classes.synsets()}
    for member in archive.members():
        synset = member.name.removesuffix(".tar")
        name = f"{member.name} in {archive.name}"
        require(
            synset in classes.words() and member.name.endswith(".tar"),
            f"{name} is not the archive of one of ImageNet's 1,000 classes, such as n01440764.tar. "
            "Download the archive again, or make one without it.",
        )
        require(synset in missing, f"{name} occurs twice. Download the archive again.")
        missing.remove(synset)
        end = member.begin + member.size
        yield synset, Archive(archive.descriptor, member.begin, end, name)
    require(
        not missing,
        f"{archive.name} lacks the archives of {len(missing):,} of ImageNet's 1,000 classes: "
        f"{some_of(sorted(missing))}. Download it again. Part of the classes can be "
        "trained on from class folders, train/n01440764/ and val/n01440764/.",
    )


def find(folder: pathlib.Path) -> Mapping[str, pathlib.Path]:
    """Returns the archives that lie in a folder, or in TFDS's folder for them, by their splits."""
    return {
        split: path
        for split, name in NAMES.items()
        for path in (folder / "downloads/manual" / name, folder / name)
        if path.exists()
    }
