"""Images in class folders, or unlabelled images in one folder."""

import hashlib
import os
import pathlib
from collections.abc import Collection

import numpy as np
from etils import epath

from vgg_jax.data import image_files
from vgg_jax.data.source import Example, Source, hashed, whole
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, require, some_of
from vgg_jax.storage import files, gcs

# The usual names of the folders of splits.
SPLITS = ("train", "training", "val", "valid", "validation", "test")


class FolderSource:
    """The images directory/split/CLASS/image.jpg. Labels follow the sorted class names.

    If the directory has no folders of splits, the default validation split, and the images of which
    data.held_out holds out some, are the directory itself. So is the split "".

    Images in subfolders of CLASS are the class's too. Hidden folders and files don't count.

    If the split's folder has no class folders, its own images are read, unlabelled.

    Attributes:
      is_whole: Whether the directory itself is read.
    """

    default_val_split = "val"

    def __init__(self, data: DataSpec, split: str) -> None:
        if not data.directory:
            raise UserError(
                "data.name is 'folder' but data.dir is empty. Set --config.data.dir to the folder "
                f"that holds {split}/CLASS/image.jpg."
            )
        self.is_whole = not split or (_may_be_whole(data, split) and self.is_unsplit(data))
        self._root = files.path(data.directory) / ("" if self.is_whole else split)
        found = listed(self._root)
        if not found:
            whole = files.path(data.directory)
            absent = self._root if files.in_bucket(whole) or whole.is_dir() else whole
            raise UserError(
                f"There is no folder {absent}.{files.similar(absent)} "
                + (
                    _hint(data, split)
                    or f"Set --config.data.dir to the folder that holds {split}/CLASS/image.jpg, "
                    "or --config.data.train_split and .val_split to names of its folders. Without "
                    "a folder to validate on, --config.data.held_out=N holds out N of the images."
                )
            )
        self._folders = tuple(sorted(name for name in found if name))
        self.class_names = tuple(map(files.printable, self._folders))
        digest = hashlib.sha256()
        names, labels, newest_ns = [], [], 0
        for label, class_name in enumerate(self._folders) if self._folders else [(-1, "")]:
            if not found[class_name] and class_name:
                raise UserError(
                    f"The class folder {files.printable(self._root / class_name)} holds no images "
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

    @classmethod
    def is_unsplit(cls, data: DataSpec) -> bool:
        """Returns whether the directory holds class folders or images, and no folders of splits."""
        root = files.path(data.directory)
        if not data.directory or not root.is_dir():
            return False
        shown = {path.name for path in root.iterdir() if not image_files.is_hidden(path.name)}
        return bool(shown) and not shown & {*SPLITS, data.train_split}

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
        folder = self._folders[self.label(index)] if self._folders else ""
        return pathlib.Path(folder, os.fsdecode(bytes(self._names[index])))


def is_whole(source: Source) -> bool:
    """Returns whether a source reads all of a directory without splits, or some images of it."""
    source = whole(source)
    return isinstance(source, FolderSource) and source.is_whole


def _may_be_whole(data: DataSpec, split: str) -> bool:
    if data.held_out:
        return split == data.train_split
    return not data.val_split and split == FolderSource.default_val_split


def set_name(directory: str, taken: Collection[str] = ()) -> str:
    """Returns the name of a directory, after that of the one above if it is the name of a split.

    Args:
      directory: The path.
      taken: Names of splits, in addition to `SPLITS`.
    """
    path = files.path(directory)
    if not files.in_bucket(path):
        path = pathlib.Path(os.path.abspath(path))  # Links keep their names, unlike in resolve().
    return f"{path.parent.name}-{path.name}" if path.name in {*SPLITS, *taken} else path.name


def _hint(data: DataSpec, split: str) -> str:
    """Returns what to do about a folder that has no folders of splits; "" about any other."""
    if not FolderSource.is_unsplit(data):
        return ""
    above = files.absolute(files.path(data.directory)).parent
    if not files.in_bucket(above) and (above / split).is_dir():
        return f"Did you mean --config.data.dir={above}, which holds {split}?"
    if split == data.train_split:
        return (
            f"If {data.directory} holds the class folders itself, hold N of the images out to "
            "validate on: --config.data.held_out=N. Otherwise set --config.data.dir to the folder "
            f"that holds {split}/CLASS/image.jpg, or --config.data.train_split and .val_split to "
            "names of its folders."
        )
    if split == data.val_split:
        return (
            f"To evaluate all of {data.directory}, which has no splits, name none: "
            "--config.data.val_split=''."
        )
    return ""


def listed(root: files.Path) -> dict[str, list[gcs.Entry]]:
    """Lists the images below a folder by their class folders.

    Without class folders the key "" has the folder's own images. The result is empty if there is no
    such folder.

    Raises:
      UserError: Images lie beside class folders, or a folder can't be read.
    """
    return _in_bucket(root) if files.in_bucket(root) else _on_disk(root)


def _on_disk(root: pathlib.Path) -> dict[str, list[gcs.Entry]]:
    if not root.is_dir():
        return {}
    with os.scandir(root) as entries:
        shown = [entry for entry in entries if not image_files.is_hidden(entry.name)]
    class_names = [entry.name for entry in shown if image_files.is_folder(entry)]
    if class_names:
        others = [entry for entry in shown if not image_files.is_folder(entry)]
        unread = [e for e in others if image_files.is_image(e.name) or image_files.leads_nowhere(e)]
        _refuse_beside_classes(root, [entry.name for entry in unread])
    return {name: list(image_files.below(root / name)) for name in class_names or [""]}


def _refuse_beside_classes(root: files.Path, names: list[str]) -> None:
    require(
        not names,
        f"These images, or links that lead nowhere, lie in {files.printable(root)} beside its "
        f"class folders: {some_of([*map(files.printable, sorted(names))])}. Move images into the "
        "folder of their class, repair the links, or remove them.",
    )


def _in_bucket(root: epath.Path) -> dict[str, list[gcs.Entry]]:
    found: dict[str, list[gcs.Entry]] = {}
    for entry in gcs.below(root):
        *folders, name = entry.name.split("/")
        if any(map(image_files.is_hidden, folders)):
            continue
        of_class = found.setdefault(folders[0] if folders else "", [])
        if image_files.is_image(name):
            of_class.append(entry._replace(name="/".join([*folders[1:], name])))
    if len(found) > 1:
        _refuse_beside_classes(root, [entry.name for entry in found.get("", ())])
    return found


SOURCE = FolderSource
