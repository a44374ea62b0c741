"""Classifies photos: `python -m vgg_jax.predict photo.jpg --workdir=runs/e_multiscale`.

Several files, folders and `-`, an image on stdin, do as well. With --map=where.png the class score
map is drawn over the image; for several images --map is a folder.
"""

import concurrent.futures
import dataclasses
import pathlib
import sys

import numpy as np
from absl import flags
from jaxtyping import Int32
from PIL import Image

from vgg_jax.data import folder, images
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.evaluation import topk
from vgg_jax.evaluation.methods import METHODS
from vgg_jax.storage import files
from vgg_jax.system import command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "Of the run whose net predicts.", required=True)
_TOP = flags.DEFINE_integer("top", 5, "How many classes to print.", lower_bound=1)
_METHOD = flags.DEFINE_enum("method", "dense", list(METHODS), "See vgg_jax/base_config.py.")
_SCALES = flags.DEFINE_list("scales", None, "Q, px; several are averaged. Default: the run's.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", None, ["last", "best"], "Default: the run's.")
_MAP = flags.DEFINE_string("map", None, "File for the class score map's picture, or a folder.")
_MAP_SCALE = flags.DEFINE_integer("map_scale", None, "Its Q, px. Default: twice the net's crop.")

MAP_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


@dataclasses.dataclass(frozen=True)
class Photos:
    """The images to classify, of which the files stay closed until they are decoded.

    Attributes:
      paths: Of the files; "-" is stdin.
      stdin: What was read from it.
    """

    paths: tuple[str, ...]
    stdin: bytes = b""

    def __call__(self, index: int) -> Image.Image:
        """Decodes an image.

        Raises:
          UndecodableError: It is damaged, or no image.
        """
        path = self.paths[index]
        try:
            data = self.stdin if path == "-" else pathlib.Path(path).read_bytes()
        except OSError as error:
            raise UndecodableError(self.name(index), error.strerror) from error
        return images.decode(data, self.name(index))

    def name(self, index: int) -> str:
        """Returns what an image is called in print."""
        return "stdin" if self.paths[index] == "-" else files.printable(self.paths[index])

    def sizes(self) -> Int32[np.ndarray, "n 2"]:
        """Decodes all images, and returns the height and width of each.

        Raises:
          UserError: Some can't be decoded; the message names them.
        """

        def size_of(index: int) -> tuple[int, int] | UndecodableError:
            try:
                image = self(index)
                return image.height, image.width
            except UndecodableError as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            found = list(threads.map(size_of, range(len(self.paths))))
        errors = [str(size) for size in found if isinstance(size, UndecodableError)]
        if errors:
            raise UserError("\n".join(errors))
        return np.array(found, np.int32)


def main(argv: list[str]) -> None:
    """Prints the most probable classes of each image, and draws maps where they are wanted."""
    photos = find(argv[1:])
    maps = _map_files(photos.paths)
    scales = evaluation_settings.parse_scales(_SCALES.value)

    from vgg_jax.evaluation import trained_net

    net = trained_net.load(_WORKDIR.value, checkpoint=_CHECKPOINT.value)
    map_scale = _MAP_SCALE.value or 2 * net.model.crop_px
    evaluation_settings.check_scales((map_scale,), net.model.crop_px)
    if maps:
        maps[0].parent.mkdir(parents=True, exist_ok=True)
    posteriors = net.posteriors_of(
        photos, photos.sizes(), method=_METHOD.value, scales=scales, progress=len(photos.paths) > 1
    )
    for index in range(len(photos.paths)):
        print(photos.name(index))
        for k in topk.best(posteriors[index], _TOP.value):
            print(f"  {posteriors[index, k]:7.2%}  {net.class_names[k]}")
        if maps:
            from vgg_jax.evaluation import score_map_picture

            image = np.asarray(photos(index))
            score_map_picture.draw(net, image, posteriors[index], maps[index], scale=map_scale)
            print(f"  map: {maps[index]}")


def find(arguments: list[str]) -> Photos:
    """Finds the images that the arguments name: files, folders with all below them, "-".

    Raises:
      UserError: There is none, or a path doesn't exist.
    """
    if not arguments:
        raise UserError("Name the images: files, folders, or - for one on stdin.")
    paths = []
    for argument in arguments:
        path = pathlib.Path(argument).expanduser()
        if argument == "-":
            paths.append(argument)
        elif path.is_dir():
            below = [p for p in path.rglob("*") if folder.is_image(p.name) and p.is_file()]
            if not below:
                raise UserError(f"{path} holds no images.")
            paths += map(str, sorted(below))
        elif path.exists():
            paths.append(str(path))
        else:
            raise UserError(f"There is no file {path}.")
    if paths.count("-") > 1:
        raise UserError("stdin can be read once: give - once.")
    return Photos(tuple(paths), sys.stdin.buffer.read() if "-" in paths else b"")


def _map_files(paths: tuple[str, ...]) -> list[pathlib.Path]:
    if not _MAP.value:
        return []
    out = pathlib.Path(_MAP.value).expanduser()
    is_file = out.suffix.lower() in MAP_SUFFIXES and not out.is_dir()
    if len(paths) == 1 and is_file:
        return [out]
    if is_file or (out.exists() and not out.is_dir()):
        raise UserError(
            f"--map={out} must be a folder for {len(paths):,} images, or for a single one a file "
            f"({', '.join(MAP_SUFFIXES)})."
        )
    width = len(str(len(paths)))
    return [
        out / f"{number:0{width}}-{'stdin' if path == '-' else pathlib.Path(path).name}.png"
        for number, path in enumerate(paths, 1)
    ]


if __name__ == "__main__":
    command_line.run(main)
