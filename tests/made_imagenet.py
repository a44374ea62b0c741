"""Makes ImageNet in small, in the forms in which people have it."""

import io
import os
import shutil
import tarfile

import numpy as np
from image_bytes import encoded
from PIL import Image

from vgg_jax.data.imagenet import classes, val_labels


def _jpeg(rng):
    height, width = rng.integers(16, 40, 2)
    colour = rng.integers(0, 256, (2, 2, 3), np.uint8)
    return encoded(Image.fromarray(colour).resize((width, height)), "JPEG")


def images():
    """Returns {split: {(synset, name): bytes}} of one training and one validation image a class."""
    rng = np.random.default_rng(0)
    numbers = {}
    names = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)]
    for name, synset in zip(names, val_labels.by_number(names, ""), strict=True):
        numbers.setdefault(synset, name)
    return {
        "train": {(s, f"{s}_{int(s[1:]) % 9999}.JPEG"): _jpeg(rng) for s in classes.synsets()},
        "val": {(s, numbers[s]): _jpeg(rng) for s in classes.synsets()},
    }


def folders(root, of_splits, flat_val=False):
    """Writes class folders. The validation images may lie in one folder."""
    for split, of_split in of_splits.items():
        for (synset, name), data in of_split.items():
            folder = root / split / ("" if flat_val and split == "val" else synset)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return root


def solution(path, of_splits):
    """Writes Kaggle's file of the validation labels."""
    rows = [
        f"{name.removesuffix('.JPEG')},{synset} 1 2 30 40 {synset} 5 6 70 80 \n"
        for (synset, name) in reversed(of_splits["val"])
    ]
    path.write_text(f"ImageId,PredictionString\n{''.join(rows)}")


def kaggle(root, of_splits):
    """Writes Kaggle's tree, with two test images."""
    base = folders(root / "ILSVRC/Data/CLS-LOC", of_splits, flat_val=True)
    (base / "test").mkdir()
    for number, data in enumerate(list(of_splits["val"].values())[:2], 1):
        (base / "test" / f"ILSVRC2012_test_{number:08}.JPEG").write_bytes(data)
    solution(root / "LOC_val_solution.csv", of_splits)
    return root


def add(tar, name, data):
    """Adds a file to an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def class_archives(of_train, **options):
    """Returns {synset: the bytes of its archive}."""
    made = {}
    for (synset, name), data in of_train.items():
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", **options) as tar:
            add(tar, name, data)
        made[synset] = buffer.getvalue()
    return made


def tars(root, of_splits, **options):
    """Writes the owners' two archives."""
    root.mkdir(parents=True, exist_ok=True)
    train_archive(root, class_archives(of_splits["train"], **options), **options)
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w", **options) as tar:
        for (_, name), data in of_splits["val"].items():
            add(tar, name, data)
    return root


def train_archive(root, of_classes, **options):
    """Writes the archive of the training images, given those of the classes."""
    path = root / "ILSVRC2012_img_train.tar"
    with tarfile.open(path, "w", **options) as tar:
        for synset, data in of_classes.items():
            add(tar, f"{synset}.tar", data)
    return path


def copied(source, target):
    """Copies a form by links, so that files may be removed or replaced, but not changed."""
    shutil.copytree(source, target, copy_function=os.link)
    return target
