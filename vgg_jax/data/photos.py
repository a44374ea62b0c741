"""The images that a command's arguments name: files, folders, stdin."""

import concurrent.futures
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32
from PIL import Image

from vgg_jax.data import image_files, images
from vgg_jax.errors import UndecodableError, UserError
from vgg_jax.storage import files


@dataclasses.dataclass(frozen=True)
class Photos:
    """Images by index. A file is opened only when its image is decoded.

    Attributes:
      paths: The files' paths; "-" is stdin.
      stdin: The bytes that were read from stdin.
    """

    paths: tuple[str, ...]
    stdin: bytes = b""

    def __call__(self, index: int) -> Image.Image:
        """Decodes an image.

        Raises:
          UndecodableError: The file can't be read, or isn't an image, or is damaged.
        """
        path = self.paths[index]
        try:
            if path != "-":
                image_files.refuse_special(pathlib.Path(path), self.name(index))
            data = self.stdin if path == "-" else pathlib.Path(path).read_bytes()
        except OSError as error:
            raise UndecodableError(self.name(index), error.strerror) from error
        return images.decode(data, self.name(index))

    def name(self, index: int) -> str:
        """Returns an image's printable name."""
        return "stdin" if self.paths[index] == "-" else files.printable(self.paths[index])

    def sizes(self) -> Int32[np.ndarray, "n 2"]:
        """Decodes all images, and returns the height and width of each, in px.

        Raises:
          UserError: Some images can't be decoded; the message names them.
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


def find(arguments: Sequence[str]) -> Photos:
    """Finds the images that the arguments name: files, folders with all their subfolders, "-".

    Raises:
      UserError: There are no images, or a path doesn't exist, or "-" is given twice.
    """
    if not arguments:
        raise UserError("Name the images: files, folders, or - for one on stdin.")
    paths = []
    for argument in arguments:
        path = pathlib.Path(argument).expanduser()
        if argument == "-":
            paths.append(argument)
        elif path.is_dir():
            below = [
                p
                for p in path.rglob("*")
                if image_files.is_image(p.name)
                and not p.is_dir()
                and not any(map(image_files.is_hidden, p.relative_to(path).parts))
            ]
            if not below:
                raise UserError(f"{path} holds no images.")
            paths += map(str, sorted(below))
        elif path.exists():
            paths.append(str(path))
        else:
            raise UserError(f"There is no file {path}.")
    if paths.count("-") > 1:
        raise UserError("stdin can be read only once. Give - once.")
    return Photos(tuple(paths), sys.stdin.buffer.read() if "-" in paths else b"")
