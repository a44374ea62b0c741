"""Images and labels by index: any TFDS data set, a folder of class folders, the embedded set."""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from vgg_jax.errors import UndecodableError, UserError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)


class Example(NamedTuple):
    """One undecoded image.

    Attributes:
      image: The bytes of the image file.
      label: Index into the source's class names.
      key: What names it to a person: a path, or a number in its split.
    """

    image: bytes
    label: int
    key: str


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of one split; picklable, for the worker processes.

    Attributes:
      class_names: By label.
      fingerprint: Hash of the index. Runs that resume on another index are refused.
      contents_key: As the fingerprint, and with when the files were last written to, which tells
        images of equal names and sizes apart: for what is kept of their contents.
    """

    class_names: tuple[str, ...]
    fingerprint: str
    contents_key: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def label(self, index: int) -> int:
        """Returns the label alone, of an image that may not be readable."""
        ...


def open_sources(
    name: str,
    directory: str,
    *,
    train_split: str,
    val_split: str,
    cache_dir: str,
    held_out: int = 0,
    seed: int = 0,
) -> tuple[Source, Source]:
    """Opens the training and the validation split.

    Args:
      name: "shapes", the embedded set; "folder"; or the name of a TFDS data set.
      directory: Of a folder: what holds train/CLASS/ and val/CLASS/. Of TFDS: its data_dir, or ""
        for its default.
      train_split, val_split: Names of the splits. An empty val_split is "val" of a folder and
        "validation" of anything else.
      cache_dir: Where the embedded set is kept.
      held_out: Number of training images to validate on instead of the validation split (§3.1
        leaves this open; the paper validates on the validation split); 0 for none.
      seed: Chooses the images held out.

    Raises:
      UserError: A split isn't there, or the two differ in their classes.
    """
    splits = [train_split]
    if not held_out:
        splits.append(val_split or ("val" if name == "folder" else "validation"))
    if name == "folder":
        opened = [FolderSource(directory, split) for split in splits]
    elif name == "shapes":
        opened = _open_shapes(pathlib.Path(cache_dir).expanduser(), splits)
    else:
        opened = _open_tfds(name, directory, splits)
    if held_out:
        return _hold_out(opened[0], held_out, seed)
    train, val = opened
    if train.class_names != val.class_names:
        differing = sorted({*train.class_names} ^ {*val.class_names})
        raise UserError(
            f"The classes of {' and '.join(splits)} differ: {', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''}. Both must have the same class folders."
        )
    return train, val


def _hold_out(source: Source, count: int, seed: int) -> tuple[Source, Source]:
    if not 0 < count < len(source):
        raise UserError(
            f"data.held_out={count} must lie between 1 and {len(source) - 1}: the training "
            f"split has {len(source)} images."
        )
    order = np.random.default_rng(seed).permutation(len(source))
    return Subset(source, np.sort(order[count:])), Subset(source, np.sort(order[:count]))


class FolderSource:
    """A folder of class folders: directory/split/CLASS/image.jpg, labelled in sorted order."""

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
        for label, class_name in enumerate(self.class_names):
            with os.scandir(self._root / class_name) as entries:
                files = sorted(
                    (entry.name, entry.stat())
                    for entry in entries
                    if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()
                )
            if not files:
                raise UserError(
                    f"The class folder {self._root / class_name} holds no images "
                    f"({', '.join(IMAGE_SUFFIXES)}). Fill it or remove it from every split."
                )
            for name, stat in files:
                line = f"{class_name}/{name}:{stat.st_size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
                newest_ns = max(newest_ns, stat.st_mtime_ns)
                names.append(os.fsencode(name))
                labels.append(label)
        if not names:
            raise UserError(f"{self._root} holds no class folders.")
        # Arrays, since a worker process receives a copy: 1.3 million strings pickle to 100 MB.
        self._names, self._labels = np.array(names), np.array(labels, np.int32)
        self.fingerprint = digest.hexdigest()
        self.contents_key = _hashed(self.fingerprint, split, newest_ns)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        label = self.label(index)
        path = self._root / self.class_names[label] / os.fsdecode(bytes(self._names[index]))
        # Names needn't be UTF-8, and are printed.
        key = os.fsencode(path).decode("utf-8", "backslashreplace")
        try:
            data = path.read_bytes()
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise UndecodableError(key, error.strerror) from error
        except OSError as error:  # As of a server that doesn't answer: the image may be good.
            raise UserError(f"{key} can't be read at present: {error.strerror}.") from error
        return Example(data, label, key)

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._labels[index])


class TfdsSource:
    """One split of a prepared TFDS builder, read without TensorFlow."""

    def __init__(self, builder: object, split: str) -> None:
        import tensorflow_datasets as tfds

        features = dict(builder.info.features.items())
        label = features.get("label")
        if not isinstance(label, tfds.features.ClassLabel) or "image" not in features:
            raise UserError(
                f"{builder.info.full_name} has no 'image' with a class 'label'. "
                "Choose a TFDS data set for image classification."
            )
        self.class_names = tuple(label.names)
        try:
            self._records = builder.as_data_source(
                split, decoders={"image": tfds.decode.SkipDecoding()}
            )
        except ValueError as error:  # An unknown split; TFDS lists the known ones.
            raise UserError(f"{builder.info.full_name}: {error}") from error
        self._name = f"{builder.info.full_name}/{split}"
        shards = [(s.name, s.shard_lengths) for s in builder.info.splits.values()]
        self.fingerprint = _hashed(self._name, shards)
        info = pathlib.Path(builder.data_path) / "dataset_info.json"
        self.contents_key = _hashed(self.fingerprint, info.stat().st_mtime_ns)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        file_name = record.get("file_name", b"")
        return Example(
            record["image"], int(record["label"]), f"{self._name}[{index}] {file_name.decode()}"
        )

    def label(self, index: int) -> int:
        """See `Source`."""
        return int(self._records[index]["label"])


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some of a source's examples."""

    source: Source
    indices: Int[np.ndarray, " n"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The whole source's: labels don't change."""
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        """Hash of the source's and of the choice."""
        return _hashed(self.source.fingerprint, self._chosen)

    @property
    def contents_key(self) -> str:
        """Likewise."""
        return _hashed(self.source.contents_key, self._chosen)

    @property
    def _chosen(self) -> str:
        return hashlib.sha256(self.indices.astype(np.int64).tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def label(self, index: int) -> int:
        """See `Source`."""
        return self.source.label(int(self.indices[index]))


def _hashed(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def _open_tfds(name: str, data_dir: str, splits: Sequence[str]) -> list[TfdsSource]:
    import tensorflow_datasets as tfds

    where = pathlib.Path(data_dir or "~/tensorflow_datasets").expanduser()
    prepare = (
        "Prepare it once, in an environment of its own (this needs TensorFlow; training doesn't):\n"
        "    pip install -e '.[prepare]'\n"
        f"    tfds build {name} --file_format=array_record --data_dir={where}\n"
    )
    if name == "imagenet2012":
        prepare += (
            "after putting ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, which one gets "
            f"from image-net.org with an account, into\n    {where}/downloads/manual/\n"
        )
    kwargs = {"data_dir": data_dir} if data_dir else {}
    try:
        # try_gcs off: never go to the network for what isn't on this disk.
        builder = tfds.builder(name, try_gcs=False, **kwargs)
    except (tfds.core.DatasetNotFoundError, ImportError, AssertionError) as error:
        raise UserError(
            f"TFDS knows no data set {name!r}, and none lies in {where}.\n"
            "data.name is 'shapes', 'folder' or the name of a TFDS data set."
        ) from error
    if not builder.is_prepared():
        raise UserError(
            f"The data set {name} is not prepared in {where}.\n{prepare}"
            "If it lies elsewhere, set --config.data.dir to that data_dir."
        )
    file_format = builder.info.file_format
    if file_format is None or not file_format.value.startswith("array_record"):
        raise UserError(
            f"The data set {name} in {builder.data_dir} is stored as "
            f"{getattr(file_format, 'value', None)}, which has no random access. Convert it once:\n"
            "    pip install -e '.[prepare]'\n"
            f"    tfds convert_format --dataset_dir={builder.data_dir} "
            "--out_file_format=array_record --out_path=NEW_DIR\n"
            "and set --config.data.dir to the new data_dir."
        )
    return [TfdsSource(builder, split) for split in splits]


def _open_shapes(cache_dir: pathlib.Path, splits: Sequence[str]) -> list[TfdsSource]:
    import tensorflow_datasets as tfds

    from vgg_jax import shapes

    builder = shapes.Shapes(data_dir=cache_dir, file_format="array_record")
    if not builder.is_prepared():
        print(f"Rendering the embedded data set into {builder.data_dir} (some seconds, once) ...")
        tfds.disable_progress_bar()
        # TFDS announces a download that doesn't take place.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
        tfds.enable_progress_bar()
    return [TfdsSource(builder, split) for split in splits]
