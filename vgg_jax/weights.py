"""Imports the weights of another package's net as a workdir, and exports a workdir's net.

    python -m vgg_jax.weights import vgg16-397923af.pth runs/torchvision_d
    python -m vgg_jax.weights import VGG_ILSVRC_16_layers.caffemodel runs/d_multiscale \
        --config=configs/d_multiscale.py
    python -m vgg_jax.weights export runs/e_multiscale e.safetensors
    python -m vgg_jax.weights export runs/e_multiscale e.onnx --output=probabilities

An imported workdir is that of a finished run: evaluate it, predict with it, fuse it, or train other
runs from it. An exported file's suffix says its format: .safetensors, .weights.h5 (Keras), .onnx or
.stablehlo.
"""

import pathlib

from absl import flags

from vgg_jax import config
from vgg_jax.errors import require
from vgg_jax.nets import architectures
from vgg_jax.storage import files
from vgg_jax.storage.files import Path
from vgg_jax.system import command_line, config_flag, flag_parsing
from vgg_jax.system.heavy_imports import heavy_imports

_CONFIG = config_flag.define(
    "The config of the run that the workdir is to hold, for example "
    "configs/d_multiscale.py; --config.KEY=VALUE overrides its keys. The default is a config made "
    "from the file.",
)
_NET = flags.DEFINE_enum(
    "net",
    None,
    list(architectures.NETS),
    "The net of the file where two nets have the same shapes, for example A-LRN, whose shapes are "
    "those of A. The default is the one without LRN.",
)
_PREPROCESSING = flags.DEFINE_enum(
    "preprocessing",
    None,
    ["torchvision", "caffe"],
    "How the net's images were preprocessed: torchvision for RGB of mean 0 and deviation 1, caffe "
    "for BGR of 0-255 minus the mean. The default is that of the file's layout.",
)
_CLASSES = flags.DEFINE_string(
    "classes",
    None,
    "A text file with the name of each class, one per line in the order of the labels, for example "
    "classes.txt. The default is ImageNet's synsets, for a net of 1,000 classes.",
)

_LAYOUT = flags.DEFINE_enum(
    "layout",
    None,
    ["ours", "torchvision", "timm"],
    "The names and the order of the axes in an exported .safetensors file, for example "
    "torchvision. The default is ours, which `import` reads back to the bit.",
)
_OUTPUT = flags.DEFINE_enum(
    "output",
    None,
    ["map", "probabilities"],
    "What an exported .onnx or .stablehlo program computes: map for the class score map, or "
    "probabilities for the softmax of the map's average. The default is map.",
)

_USAGE = (
    "Give: python -m vgg_jax.weights import FILE WORKDIR, or: python -m vgg_jax.weights export "
    "WORKDIR FILE."
)


def main(argv: list[str]) -> None:
    """Imports a file, or exports a workdir's net."""
    require(len(argv) == 4 and argv[1] in ("import", "export"), _USAGE)
    if argv[1] == "import":
        _refuse_given("export", _LAYOUT, _OUTPUT)
        _import(pathlib.Path(argv[2]).expanduser(), files.path(argv[3]))
    else:
        _refuse_given("import", _CONFIG, _NET, _PREPROCESSING, _CLASSES)
        _export(files.path(argv[2]), files.path(argv[3]))


def _refuse_given(command: str, *others: flags.FlagHolder) -> None:
    """Checks that no flag of the other command is given."""
    for flag in others:
        require(flag.value is None, f"--{flag.name} is for {command} only. Leave it out.")


def _import(path: pathlib.Path, workdir: Path) -> None:
    if _CONFIG.value is not None:
        config.validate(_CONFIG.value)

    with heavy_imports():
        from vgg_jax.foreign import importing

    choices = importing.Choices(_NET.value, _PREPROCESSING.value, _CLASSES.value)
    print(importing.import_file(path, workdir, _CONFIG.value, choices))


def _export(workdir: Path, path: Path) -> None:
    with heavy_imports():
        from vgg_jax.evaluation import loading
        from vgg_jax.export import exporting
        from vgg_jax.export.options import Options

    writer = exporting.writer(path, Options(layout=_LAYOUT.value, output=_OUTPUT.value))
    writer.refuse(loading.outline(workdir, dtype="float32"))
    net = loading.load(workdir, dtype="float32")
    note = writer.write(net)
    print(f"{path} holds net {net.model.net} of {workdir}, step {net.step:,}. {note}".rstrip())


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command's flags, and returns the other arguments, the program's name first.

    Raises:
      UserError: --config names no config, or no key of it.
    """
    with config_flag.clear_errors(argv):
        rest = flag_parsing.parse(argv)
        if _CONFIG.value is not None:
            _CONFIG.value.lock()
    return rest


if __name__ == "__main__":
    command_line.run(main, parse_flags)
