"""Writes parquet shards as the Hub's package `datasets` does, from class folders."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def metadata(names):
    label = {"names": list(names), "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write(path, images, labels, *, names=None, rows_per_group=10):
    """Writes one shard of [(bytes, path)] and labels; names go into the schema's metadata."""
    schema = pa.schema(
        [("image", TYPE), ("label", pa.int64())],
        metadata=None if names is None else metadata(names),
    )
    rows = [image and {"bytes": image[0], "path": image[1]} for image in images]
    table = pa.table([pa.array(rows, TYPE), pa.array(labels, pa.int64())], schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def of_folders(root, split, target, name, *, num_shards=2, rows_per_group=10):
    """Writes root/split/CLASS/FILE as shards of a split called `name`, in the folder's order."""
    files = sorted((root / split).glob("*/*"))
    names = sorted({file.parent.name for file in files})
    rows = [(file.read_bytes(), file.name) for file in files]
    labels = [names.index(file.parent.name) for file in files]
    for k in range(num_shards):
        part = slice(k * len(files) // num_shards, (k + 1) * len(files) // num_shards)
        path = target / f"{name}-{k:05}-of-{num_shards:05}.parquet"
        write(path, rows[part], labels[part], names=names, rows_per_group=rows_per_group)
    return target
