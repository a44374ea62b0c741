"""Any data set of TFDS that has been prepared on this machine or in a bucket."""

import os
from typing import Any

from vgg_jax.data import sources
from vgg_jax.data.source import Example, hashed
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError, did_you_mean
from vgg_jax.storage import files


class TfdsSource:
    """One split of the TFDS data set data.name, which is read without TensorFlow."""

    default_val_split = "validation"

    def __init__(self, data: DataSpec, split: str) -> None:
        import tensorflow_datasets as tfds  # This import takes a second.

        builder = self._builder(data)
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
        except ValueError as error:  # The split is unknown; TFDS lists the known ones.
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
        """See `Source`. It is the file's name, if TFDS has kept it."""
        file_name = self._records[index].get("file_name", b"")
        return file_name.decode() or f"{self._split}[{index}]"

    def _builder(self, data: DataSpec) -> Any:
        return _found(data.name, data.directory)


def _found(name: str, data_dir: str) -> Any:
    import tensorflow_datasets as tfds

    where = files.path(data_dir or "~/tensorflow_datasets")
    kwargs = {"data_dir": data_dir} if data_dir else {}
    try:
        # try_gcs=False: TFDS must not search Google's bucket for data that isn't in data_dir.
        builder = tfds.builder(name, try_gcs=False, **kwargs)
    except (tfds.core.DatasetNotFoundError, ImportError, AssertionError) as error:
        raise UserError(
            f"data.name={name!r} must be {', '.join(sources.names())}, the name of a TFDS data "
            "set, or MODULE:NAME, a source of your own."
            f"{did_you_mean(name, sources.names())} TFDS knows no data set of this name, and none "
            f"lies in {where}."
        ) from error
    if not builder.is_prepared():
        raise UserError(
            f"The data set {name} is not prepared in {where}.\n{_how_to_prepare(name, where)}"
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
    return builder


def _how_to_prepare(name: str, where: files.Path) -> str:
    return (
        "Prepare it once, in an environment of its own (this needs TensorFlow; training doesn't):\n"
        "    pip install -e '.[prepare]'\n"
        f"    tfds build {name} --file_format=array_record --data_dir={where}\n"
    )


SOURCE = TfdsSource
