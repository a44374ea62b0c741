"""Classifies photos: `python -m vgg_jax.predict photo.jpg --workdir=runs/e_multiscale`.

The arguments are files, folders, or `-` for an image on stdin. With --map=where.png the class score
map is drawn over the image; for several images --map is a folder. --csv=classes.csv writes what is
printed as a table.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, get_args

import numpy as np
from absl import flags
from jaxtyping import Float32, Int, UInt8
from tqdm import tqdm

from vgg_jax import plots, safe_text
from vgg_jax.counted import counted
from vgg_jax.data import decode_budget, decode_flag, photos
from vgg_jax.errors import UserError, require
from vgg_jax.evaluation import class_table, methods, topk
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.foreign import class_names
from vgg_jax.runs import saved_steps
from vgg_jax.storage import files
from vgg_jax.system import command_line
from vgg_jax.system.heavy_imports import heavy_imports

if TYPE_CHECKING:
    from vgg_jax.evaluation.trained_net import TrainedNet

_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder of the run whose net classifies the images, for example runs/e_multiscale.",
    required=True,
)
_TOP = flags.DEFINE_integer(
    "top", 5, "The number of classes to print per image, for example 3.", lower_bound=1
)
_METHOD = flags.DEFINE_string(
    "method",
    "dense",
    "The method of evaluation (§3.2): dense applies the net to whole images, multicrop to 50 crops "
    "per image, tencrop to 10 crops, and both averages dense and multicrop. A method of your own "
    "is MODULE:NAME, for example my_method:METHOD.",
)
_SCALES = flags.DEFINE_list(
    "scales",
    None,
    "The test scales Q in px, whose posteriors are averaged, for example 256,384,512. The default "
    "is the run's own.",
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    None,
    list(get_args(saved_steps.Which)),
    "The checkpoint of the net: the last one, or the best, with the least validation error. The "
    "default is the run's own.",
)
_MAP = flags.DEFINE_string(
    "map",
    None,
    "The file for a picture of the class score map over the image, for example where.png; for "
    "several images, the folder for their pictures. By default none is drawn.",
)
_MAP_SCALE = flags.DEFINE_integer(
    "map_scale",
    None,
    "The test scale Q of the map in px, for example 448. The default is twice the net's crop.",
)

_CSV = flags.DEFINE_string(
    "csv",
    None,
    "The CSV file to write, for example classes.csv: a row per image with its path, its most "
    "probable classes (--top of them) and their probabilities. By default none is written.",
)
_DECODE_BYTES = decode_flag.define()

_MAPPED_CLASSES = 3


def main(argv: list[str]) -> None:
    """Prints the most probable classes of each image, and draws maps if --map is given."""
    methods.check("--method", _METHOD.value)
    decode_budget.set_bytes(_DECODE_BYTES.value)
    found = photos.find(argv[1:])
    require(_MAP_SCALE.value is None or bool(_MAP.value), "--map_scale needs --map.")
    maps, table = _map_files(found.paths), _table_file()
    scales = evaluation_settings.parse_scales(_SCALES.value)

    with heavy_imports():
        from vgg_jax.evaluation import loading

    net = loading.load(_WORKDIR.value, checkpoint=_CHECKPOINT.value)
    map_scale = _MAP_SCALE.value or 2 * net.model.crop_px
    evaluation_settings.check_scales((map_scale,), net.model.crop_px)
    if maps:
        files.refuse_unwritable(maps[0].parent)
    sizes, errors = found.examined()
    decodable = np.flatnonzero(sizes[:, 0]).tolist()
    computed = net.posteriors_as_computed(
        lambda place: found(decodable[place]),
        sizes[decodable],
        method=_METHOD.value,
        scales=scales,
        progress=len(decodable) > 1,
    )
    with (
        contextlib.closing(computed),  # An error below must not be printed behind the bar.
        _table(table, net.class_names) as add_row,
    ):
        for place, posteriors in _in_order(computed):
            index = decodable[place]
            best = topk.best(posteriors, _TOP.value)
            names = [safe_text.printable(class_names.shown(net.class_names[k])) for k in best]
            lines = [f"  {posteriors[k]:7.2%}  {name}" for k, name in zip(best, names, strict=True)]
            _print(found.name(index), *lines)
            add_row(found.name(index), posteriors)
            if maps:
                _draw_map(net, np.asarray(found(index)), posteriors, map_scale, maps[index])
                _print(f"  map: {files.printable(maps[index])}")
    if table:
        _print(f"table: {files.printable(table)}")
    if errors:  # What can be classified was, first.
        raise UserError("\n".join(errors))


def _draw_map(
    net: "TrainedNet",
    image: UInt8[np.ndarray, "h w 3"],
    posteriors: Float32[np.ndarray, " c"],
    scale: int,
    path: pathlib.Path,
) -> None:
    from vgg_jax.evaluation import class_maps
    from vgg_jax.plots import picture_file, score_map

    classes = topk.best(posteriors, _MAPPED_CLASSES)
    titles = [f"{class_names.short(net.class_names[k])} {posteriors[k]:.1%}" for k in classes]
    maps = class_maps.around_pixels(net, image, classes, scale=scale)
    figure = score_map.figure(image, maps, titles, heading=f"image (maps: Q = {scale} px)")
    picture_file.write(figure, path, dpi=120)


def _in_order(
    computed: Iterable[tuple[Int[np.ndarray, " b"], Float32[np.ndarray, "b c"]]],
) -> Iterator[tuple[int, Float32[np.ndarray, " c"]]]:
    """Yields the posteriors of each image in the order of the images, as soon as possible."""
    waiting: dict[int, Float32[np.ndarray, " c"]] = {}
    following = 0
    for indices, values in computed:
        waiting.update(zip(indices.tolist(), values, strict=True))
        while following in waiting:
            yield following, waiting.pop(following)
            following += 1


def _print(*lines: str) -> None:
    tqdm.write("\n".join(lines))  # This prints above the progress bar.
    sys.stdout.flush()


def _map_files(paths: tuple[str, ...]) -> list[pathlib.Path]:
    if not _MAP.value:
        return []
    out = pathlib.Path(_MAP.value).expanduser()
    is_file = out.suffix.lower() in plots.SUFFIXES and not out.is_dir()
    if len(paths) == 1 and is_file:
        return [out]
    # A new folder for one image whose name has a suffix is a file of a kind that can't be drawn.
    is_meant_as_file = is_file or (len(paths) == 1 and out.suffix)
    if not out.is_dir() and (is_meant_as_file or out.exists()):
        raise UserError(
            f"--map={out} must be a folder for {counted(len(paths), 'images')}, or for a single "
            f"one a file ({', '.join(plots.SUFFIXES)})."
        )
    width = len(str(len(paths)))
    return [
        out / f"{number:0{width}}-{'stdin' if path == '-' else pathlib.Path(path).name}.png"
        for number, path in enumerate(paths, 1)
    ]


def _table_file() -> files.Path | None:
    if _CSV.value is None:
        return None
    path = files.path(_CSV.value)
    # A suffix of its own keeps `--csv a.jpg b.jpg` from writing over a photo.
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise UserError(f"--csv={_CSV.value} must be a file whose name ends with .csv.")
    files.refuse_unwritable(path.parent, "Name another file with --csv.")
    return path


def _table(
    path: files.Path | None, class_names: tuple[str, ...]
) -> contextlib.AbstractContextManager[class_table.Add]:
    if path is None:
        return contextlib.nullcontext(lambda name, posteriors: None)
    return class_table.written(path, class_names, _TOP.value)


if __name__ == "__main__":
    command_line.run(main)
