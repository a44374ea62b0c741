r"""Any run of the paper in miniature, by default on the embedded data set.

    python -m vgg_jax.main --config=configs/mini.py:e_multiscale
    python -m vgg_jax.main --config=configs/mini.py:e_multiscale --workdir=runs/mine \
        --config.data.name=folder --config.data.dir=FOLDER

Shrinks configs/NAME.py by 224 / 64: the crop becomes 64 px, which is two of the net's 32 px cells,
so FC6 is 2x2. S and Q shrink in proportion (256 -> 73, 384 -> 110, 512 -> 146). Starts from
runs/mini_OTHER if the original starts from runs/OTHER. README.md has errors that were measured.
"""

import pathlib

from ml_collections import ConfigDict

from vgg_jax.runs import config_files

_FOLDER = pathlib.Path(__file__).parent

CROP_PX = 64


def shrunk_px(px: int, crop_px: int = 224) -> int:
    """Returns S or Q, in px, of nets with that crop, shrunk in proportion to a crop of 64 px."""
    return round(px * CROP_PX / crop_px)


def get_config(name: str = "") -> ConfigDict:
    """Returns the config of configs/NAME.py, shrunk to a crop of 64 px.

    Raises:
      ImportError: configs/ has no file of that name.
    """
    names = config_files.names(_FOLDER)
    if name not in names:
        known = ", ".join(names)
        raise ImportError(f"configs/mini.py:NAME takes one of {known} for NAME, not {name!r}.")
    c = config_files.load(_FOLDER / f"{name}.py").get_config()

    c.name = f"mini_{name}"
    if c.init_from != "none":
        c.init_from = f"mini_{c.init_from}"
    c.train_scale = tuple(shrunk_px(px, c.crop_px) for px in c.train_scale)
    c.val_scale = shrunk_px(c.val_scale, c.crop_px)
    c.crop_px = CROP_PX
    c.width = 0.25
    c.num_classes = 0
    c.dtype = "float32"

    c.data.name = "shapes"

    c.batch_size = 32
    # A run that starts from another one needs fewer epochs, from a whole net the fewest.
    c.num_epochs = 30
    if c.init_from != "none":
        c.num_epochs = 8 if c.init_layers == "all" else 15
    c.eval.batch_size = 100
    c.checkpoint_every_steps = 500
    return c
