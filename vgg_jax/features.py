"""Computes descriptors of images with a run's net, and trains linear SVMs on them (appendix B).

    python -m vgg_jax.features runs/d_multiscale --data=caltech101 --scales=256,384,512 \
        --out=caltech.npz
    python -m vgg_jax.features runs/d_multiscale --data=caltech101 --scales=256,384,512 --svm
    python -m vgg_jax.features runs/d_multiscale --data=VOCdevkit/VOC2007 --combine=average \
        --scales=256,384,512,640,768 --svm --protocol=voc

A descriptor is the average of a layer's values over the whole image and its flip, divided by its
norm, for each scale.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from absl import flags
from jaxtyping import Float32, Int32
from ml_collections import ConfigDict

from vgg_jax import safe_text
from vgg_jax.counted import counted
from vgg_jax.data import decode_budget, decode_flag, workers
from vgg_jax.data.specs import OnUndecodable, ScanOptions
from vgg_jax.errors import require
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation.descriptor_settings import Combine, DescriptorSettings
from vgg_jax.runs import saved_steps
from vgg_jax.storage import files
from vgg_jax.system import command_line
from vgg_jax.system.heavy_imports import heavy_imports
from vgg_jax.transfer import caltech, svm, voc

if TYPE_CHECKING:
    from vgg_jax.data.decodable import SizedImages
    from vgg_jax.data.source import Source
    from vgg_jax.evaluation.trained_net import TrainedNet

_DATA = flags.DEFINE_string(
    "data",
    None,
    "The images: a folder of class folders, for example caltech101, FILE.csv, or for "
    "--protocol=voc a folder of VOC, for example VOCdevkit/VOC2007.",
    required=True,
)
_SPLIT = flags.DEFINE_list(
    "split",
    None,
    "The splits to pool: names of folders in --data that hold the class folders, or of the CSV "
    "file's column split, for example train,val. The default is --data itself.",
)
_SCALES = flags.DEFINE_list(
    "scales",
    None,
    "The scales Q in px, for example 256,384,512. The default is the run's own test scales.",
)
_LAYER = flags.DEFINE_string(
    "layer",
    "relu7",
    "The layer: a convolution before or after ReLU, a pooling or an FC layer, for example conv5_3, "
    "relu5_3, pool5, fc6 or relu7.",
)
_COMBINE = flags.DEFINE_enum(
    "combine",
    "stack",
    list(get_args(Combine)),
    "How the descriptors of several Q become one: stack (the paper's for Caltech) or average (the "
    "paper's for VOC).",
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "The file to store descriptors in, for example caltech.npz. The default is a file in "
    "WORKDIR/features, or none with --svm.",
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    None,
    list(get_args(saved_steps.Which)),
    "The checkpoint of the net: last, or best for the least validation error. The default is the "
    "run's own.",
)
_UNDECODABLE = flags.DEFINE_enum(
    "undecodable",
    "refuse",
    list(get_args(OnUndecodable)),
    "What to do if images can't be decoded: refuse to go on, or leave_out these.",
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    -1,
    "The number of processes that decode images, for example 8; 0 for threads; -1, the default, "
    "for as many as the cores and the work are worth.",
    lower_bound=-1,
)
_DECODE_BYTES = decode_flag.define()
_SVM = flags.DEFINE_bool("svm", False, "Whether to train and test a linear SVM, for example --svm.")
_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    None,
    ["caltech", "voc"],
    "The protocol of --svm: caltech (the default) draws training and test images and prints the "
    "mean recall per class; voc takes VOC's image sets and prints the average precision.",
)
_TRAIN_PER_CLASS = flags.DEFINE_integer(
    "train_per_class", 30, "Caltech's number of training images per class, for example 15."
)
_TEST_PER_CLASS = flags.DEFINE_integer(
    "test_per_class", 50, "Caltech's largest number of test images per class, for example 20."
)
_DRAWS = flags.DEFINE_integer("draws", 3, "Caltech's number of random draws, for example 10.")
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "The seed of the draws and of the cross-validation that chooses C, for example 1.",
    lower_bound=0,
)

Values = Float32[np.ndarray, "n d"]
Lines = Callable[[Values], Iterator[str]]


def main(argv: list[str]) -> None:
    """Computes descriptors, stores them, and trains SVMs on them if --svm is given."""
    require(len(argv) == 2, "Give one workdir: python -m vgg_jax.features WORKDIR --data=...")
    _refuse_unused_flags()
    require(
        _OUT.value is None or _OUT.value.endswith(".npz"),
        f"--out={_OUT.value} doesn't end in .npz, and descriptors are stored as a NumPy archive. "
        "Give --out=FILE.npz.",
    )
    scales = evaluation_settings.parse_scales(_SCALES.value)
    workers.check("--num_workers", _NUM_WORKERS.value)
    decode_budget.set_bytes(_DECODE_BYTES.value)
    if _SVM.value:
        svm.require_scikit_learn()

    with heavy_imports():
        from vgg_jax.data.decoded import Decoded
        from vgg_jax.evaluation import descriptor_file, descriptors, loading

    workdir = files.path(argv[1])
    net = loading.load(workdir, checkpoint=_CHECKPOINT.value)
    scales = scales or evaluation_settings.test_scales(net.config)
    settings = DescriptorSettings(scales, _LAYER.value, _COMBINE.value)
    descriptors.check(settings, net.inference)
    out = _out(workdir, settings)
    if out is not None:
        descriptor_file.refuse_unusable(out)
    images, lines = _images_and_lines(net.config, workdir)
    values = descriptors.compute(
        net.inference,
        Decoded(images.source),
        images.sizes,
        settings,
        batch_px=net.config.eval.batch_px,
        num_workers=workers.resolved(_NUM_WORKERS.value, images.source),
        progress=True,
    )
    print(f"{values.shape[0]:,} descriptors of {values.shape[1]:,} values: {_told(settings)}")
    if out is not None:
        descriptor_file.save(out, values, images.source, _made_by(net, settings, images.source))
        print(f"stored in {out}")
    for line in lines(values) if lines else ():
        print(safe_text.lines(line))
        sys.stdout.flush()


def _refuse_unused_flags() -> None:
    of_caltech = ("train_per_class", "test_per_class", "draws")
    given = [name for name in ("protocol", *of_caltech, "seed") if flags.FLAGS[name].present]
    require(_SVM.value or not given, f"These flags need --svm: --{', --'.join(given)}.")
    given = [name for name in of_caltech if flags.FLAGS[name].present]
    require(
        _PROTOCOL.value != "voc" or not given,
        f"--protocol=voc draws no images, so it takes no --{', --'.join(given)}.",
    )


def _told(settings: DescriptorSettings) -> str:
    combined = f" ({settings.combine})" if len(settings.scales) > 1 else ""
    return f"{settings.layer}, Q = {', '.join(map(str, settings.scales))}{combined}"


def _out(workdir: files.Path, settings: DescriptorSettings) -> files.Path | None:
    if _OUT.value or _SVM.value:
        return files.path(_OUT.value) if _OUT.value else None
    data = pathlib.Path(_DATA.value).absolute().stem
    scales = "-".join(map(str, settings.scales))
    combine = f"-{settings.combine}" if len(settings.scales) > 1 else ""
    splits = "".join(f"-{split}" for split in _SPLIT.value or ())
    return workdir / "features" / f"{data}{splits}-{settings.layer}-{scales}{combine}.npz"


def _made_by(net: "TrainedNet", settings: DescriptorSettings, source: "Source") -> dict[str, Any]:
    from vgg_jax.evaluation import made_with

    return {
        **dataclasses.asdict(settings),
        **net.identity(),
        "images": source.fingerprint,
        "checkpoint_step": net.step,
        **made_with.facts(),
    }


def _images_and_lines(c: ConfigDict, workdir: files.Path) -> "tuple[SizedImages, Lines | None]":
    """Opens and scans the images, and checks that the protocol fits them."""
    from vgg_jax.data import decodable, pooled
    from vgg_jax.data.voc import open_voc
    from vgg_jax.runs import record

    options = ScanOptions(
        c.data.cache_dir, _UNDECODABLE.value, _NUM_WORKERS.value, undecodable_flag="--undecodable"
    )
    if _PROTOCOL.value == "voc":
        require(_SPLIT.value is None, "--protocol=voc takes VOC's own image sets, not --split.")
        found = open_voc(_DATA.value)
        images = decodable.one_split(found.source, "given", options)
        rows = found.rows_of(images.source)
        targets = voc.Targets(found.class_names, found.labels[rows], found.is_test[rows])
        targets.check()
        print(f"VOC's protocol: trained on {found.train_set}, tested on {found.test_set}")
        return images, lambda values: voc.lines(values, targets, _SEED.value)
    opened = pooled.open_images(_DATA.value, _SPLIT.value or ())
    images = decodable.one_split(opened, "given", options)
    if not _SVM.value:
        return images, None
    lines = _caltech(images.source)
    trained = record.read(saved_steps.last_checkpoint(workdir)).run.facts.train_fingerprint
    if pooled.holds(images.source, trained, c.data.held_out, c.seed):
        print(
            "All images that the net was trained on are among these: the recall may be higher than "
            "on others."
        )
    return images, lines


def _caltech(source: "Source") -> Lines:
    protocol = caltech.Protocol(
        _TRAIN_PER_CLASS.value, _TEST_PER_CLASS.value, _DRAWS.value, _SEED.value
    )
    labels: Int32[np.ndarray, " n"] = np.array(
        [source.label(i) for i in range(len(source))], np.int32
    )
    protocol.check(labels, source.class_names)
    fewest, most = protocol.num_test(labels).min(), protocol.num_test(labels).max()
    print(
        f"Caltech's protocol: {len(source.class_names):,} classes, {protocol.train_per_class} "
        f"training and {most if fewest == most else f'{fewest} to {most}'} test images of each, "
        f"{counted(protocol.draws, 'draws')}"
    )
    return lambda values: caltech.lines(values, labels, protocol)


if __name__ == "__main__":
    command_line.run(main)
