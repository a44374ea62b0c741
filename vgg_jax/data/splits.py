"""Images and labels by index: any TFDS data set, a folder of class folders, the embedded set."""

import contextlib
import fcntl
import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgg_jax.data.folder import FolderSource
from vgg_jax.data.source import Example, Source, Subset, hashed
from vgg_jax.errors import UserError
from vgg_jax.storage import files


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
        splits.append(val_split or default_val_split(name))
    opened = _open(name, directory, splits, cache_dir)
    for split, source in zip(splits, opened, strict=True):
        if not source.class_names:
            raise UserError(
                f"{split!r} of {directory} holds no class folders: its images have no labels to "
                "train on or validate with. Unlabelled images can be evaluated: --mode=eval."
            )
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


def open_val_source(
    name: str,
    directory: str,
    *,
    train_split: str,
    val_split: str,
    cache_dir: str,
    held_out: int = 0,
    seed: int = 0,
) -> Source:
    """Opens what `open_sources` validates on, alone; it may be unlabelled."""
    splits = [train_split if held_out else val_split or default_val_split(name)]
    (source,) = _open(name, directory, splits, cache_dir)
    return _hold_out(source, held_out, seed)[1] if held_out else source


def default_val_split(name: str) -> str:
    """Returns the split that an empty val_split means."""
    return "val" if name == "folder" else "validation"


def _open(name: str, directory: str, splits: Sequence[str], cache_dir: str) -> list[Source]:
    if name == "folder":
        return [FolderSource(directory, split) for split in splits]
    if name == "shapes":
        return _open_shapes(pathlib.Path(cache_dir).expanduser(), splits)
    return _open_tfds(name, directory, splits)


def _hold_out(source: Source, count: int, seed: int) -> tuple[Source, Source]:
    if not 0 < count < len(source):
        raise UserError(
            f"data.held_out={count} must lie between 1 and {len(source) - 1}: the training "
            f"split has {len(source)} images."
        )
    order = np.random.default_rng(seed).permutation(len(source))
    return Subset(source, np.sort(order[count:])), Subset(source, np.sort(order[:count]))


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
        self._split = split
        self._name = f"{builder.info.full_name}/{split}"
        shards = [(s.name, s.shard_lengths) for s in builder.info.splits.values()]
        self.fingerprint = hashed(self._name, shards)
        info = files.path(os.fspath(builder.data_path)) / "dataset_info.json"
        self.contents_key = hashed(self.fingerprint, files.modified_ns(info))

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

    def name(self, index: int) -> str:
        """See `Source`: the file's name, where TFDS has kept it."""
        file_name = self._records[index].get("file_name", b"")
        return file_name.decode() or f"{self._split}[{index}]"


def _open_tfds(name: str, data_dir: str, splits: Sequence[str]) -> list[TfdsSource]:
    import tensorflow_datasets as tfds

    where = files.path(data_dir or "~/tensorflow_datasets")
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

    from vgg_jax.data import shapes

    builder = shapes.Shapes(data_dir=cache_dir, file_format="array_record")
    if not builder.is_prepared():
        cache_dir.mkdir(parents=True, exist_ok=True)
        # Of runs that start together one renders, and the others wait.
        with (cache_dir / ".shapes.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            builder = shapes.Shapes(data_dir=cache_dir, file_format="array_record")
            if not builder.is_prepared():
                _render(builder)
    return [TfdsSource(builder, split) for split in splits]


def _render(builder: Any) -> None:
    import tensorflow_datasets as tfds

    print(f"Rendering the embedded data set into {builder.data_dir} (some seconds, once) ...")
    tfds.disable_progress_bar()
    # TFDS announces a download that doesn't take place.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    tfds.enable_progress_bar()
