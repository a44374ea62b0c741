"""Images in a folder of class folders, or in one folder, unlabelled."""

import hashlib
import os
import pathlib

import numpy as np

from vgg_jax import files
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.examples import Example, hashed

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)


def is_image(name: str) -> bool:
    """Tells whether a file is taken for an image, by its suffix."""
    return name.lower().endswith(IMAGE_SUFFIXES)


class FolderSource:
    """A folder of class folders: directory/split/CLASS/image.jpg, labelled in sorted order.

    A folder of images alone, directory/split/image.jpg, is unlabelled.
    """

    def __init__(self, directory: str | os.PathLike[str], split: str) -> None:
        if not str(directory):
            raise UserError(
                "data.name is 'folder' but data.dir is empty. Set --config.data.dir to the folder "
                f"that holds {split}/CLASS/image.jpg."
            )
        self._root = pathlib.Path(directory).expanduser() / split
        if not self._root.is_dir():
            raise UserError(
                f"There is no folder {self._root}. Set --config.data.dir to the folder that holds "
                f"{split}/CLASS/image.jpg, or --config.data.train_split and .val_split to what its "
                "folders are called."
            )
        self.class_names = tuple(
            sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir())
        )
        digest = hashlib.sha256()
        names, labels, newest_ns = [], [], 0
        for label, class_name in enumerate(self.class_names) if self.class_names else [(-1, "")]:
            with os.scandir(self._root / class_name) as entries:
                found = sorted(
                    (entry.name, entry.stat())
                    for entry in entries
                    if is_image(entry.name) and entry.is_file()
                )
            if not found and class_name:
                raise UserError(
                    f"The class folder {self._root / class_name} holds no images "
                    f"({', '.join(IMAGE_SUFFIXES)}). Fill it or remove it from every split."
                )
            for name, stat in found:
                line = f"{class_name}/{name}:{stat.st_size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
                newest_ns = max(newest_ns, stat.st_mtime_ns)
                names.append(os.fsencode(name))
                labels.append(label)
        if not names:
            raise UserError(f"{self._root} holds no class folders, and no images.")
        # Arrays, since a worker process receives a copy: 1.3 million strings pickle to 100 MB.
        self._names, self._labels = np.array(names), np.array(labels, np.int32)
        self.fingerprint = digest.hexdigest()
        self.contents_key = hashed(self.fingerprint, split, newest_ns)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        path = self._root / self._relative(index)
        key = files.printable(path)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise UndecodableError(key, error.strerror) from error
        except OSError as error:  # As of a server that doesn't answer: the image may be good.
            raise UserError(f"{key} can't be read at present: {error.strerror}.") from error
        return Example(data, self.label(index), key)

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._labels[index])

    def name(self, index: int) -> str:
        """See `Source`: CLASS/image.jpg."""
        return files.printable(self._relative(index))

    def _relative(self, index: int) -> pathlib.Path:
        folder = self.class_names[self.label(index)] if self.class_names else ""
        return pathlib.Path(folder, os.fsdecode(bytes(self._names[index])))
