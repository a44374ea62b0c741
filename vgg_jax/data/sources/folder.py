"""Images in class folders, or unlabelled images in one folder."""

import hashlib
import os
import pathlib

import numpy as np
from etils import epath

from vgg_jax.data import image_files
from vgg_jax.data.source import Example, hashed
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError
from vgg_jax.storage import files, gcs


class FolderSource:
    """The images directory/split/CLASS/image.jpg. Labels follow the sorted class names.

    If the split's folder has no class folders, its own images are read, unlabelled.
    """

    default_val_split = "val"

    def __init__(self, data: DataSpec, split: str) -> None:
        if not data.directory:
            raise UserError(
                "data.name is 'folder' but data.dir is empty. Set --config.data.dir to the folder "
                f"that holds {split}/CLASS/image.jpg."
            )
        self._root = files.path(data.directory) / split
        found = _in_bucket(self._root) if files.in_bucket(self._root) else _on_disk(self._root)
        if not found:
            raise UserError(
                f"There is no folder {self._root}. Set --config.data.dir to the folder that holds "
                f"{split}/CLASS/image.jpg, or --config.data.train_split and .val_split to names of "
                "its folders."
            )
        self.class_names = tuple(sorted(name for name in found if name))
        digest = hashlib.sha256()
        names, labels, newest_ns = [], [], 0
        for label, class_name in enumerate(self.class_names) if self.class_names else [(-1, "")]:
            if not found[class_name] and class_name:
                raise UserError(
                    f"The class folder {self._root / class_name} holds no images "
                    f"({', '.join(image_files.SUFFIXES)}). Fill it or remove it from every split."
                )
            for name, size, modified_ns in sorted(found[class_name]):
                line = f"{class_name}/{name}:{size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
                newest_ns = max(newest_ns, modified_ns)
                names.append(os.fsencode(name))
                labels.append(label)
        if not names:
            raise UserError(f"{self._root} holds neither class folders nor images. Fill it.")
        # Arrays, because each worker process receives a copy: 1.3 million strings pickle to 100 MB.
        self._names, self._labels = np.array(names), np.array(labels, np.int32)
        self.fingerprint = digest.hexdigest()
        self.contents_key = hashed(self.fingerprint, split, newest_ns)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        return image_files.read(self._root / self._relative(index), self.label(index))

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._labels[index])

    def name(self, index: int) -> str:
        """See `Source`. It is CLASS/image.jpg."""
        return files.printable(self._relative(index))

    def _relative(self, index: int) -> pathlib.Path:
        folder = self.class_names[self.label(index)] if self.class_names else ""
        return pathlib.Path(folder, os.fsdecode(bytes(self._names[index])))


def _on_disk(root: pathlib.Path) -> dict[str, list[gcs.Entry]]:
    """Lists the images per class folder. If there is none, the key "" has the root's own images."""
    if not root.is_dir():
        return {}
    class_names = [entry.name for entry in os.scandir(root) if entry.is_dir()]
    found = {}
    for class_name in class_names or [""]:
        with os.scandir(root / class_name) as entries:
            images = [
                entry for entry in entries if image_files.is_image(entry.name) and entry.is_file()
            ]
            stats = [(image.name, image.stat()) for image in images]
        found[class_name] = [
            gcs.Entry(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats
        ]
    return found


def _in_bucket(root: epath.Path) -> dict[str, list[gcs.Entry]]:
    found: dict[str, list[gcs.Entry]] = {}
    for entry in gcs.below(root):
        class_name, _, name = entry.name.rpartition("/")
        of_class = found.setdefault(class_name.partition("/")[0], [])
        if image_files.is_image(name) and "/" not in class_name:
            of_class.append(entry._replace(name=name))
    return found


SOURCE = FolderSource
