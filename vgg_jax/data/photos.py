"""The images that a command's arguments name: files, folders, stdin."""

import concurrent.futures
import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32
from PIL import Image

from vgg_jax import safe_text
from vgg_jax.data import decode_budget, image_files, images
from vgg_jax.errors import UserError, require
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
        if self.paths[index] == "-":
            return images.decode(self.stdin, "stdin")
        example = image_files.read(pathlib.Path(self.paths[index]), label=-1)
        return images.decode(example.image, example.key)

    def name(self, index: int) -> str:
        """Returns an image's printable name."""
        return "stdin" if self.paths[index] == "-" else files.printable(self.paths[index])

    def examined(self) -> tuple[Int32[np.ndarray, "n 2"], list[str]]:
        """Decodes all images once.

        Returns:
          The height and width of each image, in px; 0 for one that can't be decoded. And a line
          for each of these, with its name and the reason.
        """

        def size_of(index: int) -> tuple[int, int] | str:
            try:
                return decode_budget.with_room_kept(lambda: self(index).size[::-1])
            except UserError as error:
                return str(error)  # The error itself would keep the image, as far as it got.

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            found = list(threads.map(size_of, range(len(self.paths))))
        errors = [size for size in found if isinstance(size, str)]
        sizes = [(0, 0) if isinstance(size, str) else size for size in found]
        return np.array(sizes, np.int32).reshape(-1, 2), errors


def find(arguments: Sequence[str]) -> Photos:
    """Finds the images that the arguments name: files, folders with all their subfolders, "-".

    Raises:
      UserError: There are no images, or a path doesn't exist, or a folder can't be read, or "-" is
        given twice, or stdin is too long for the budget of decoding.
    """
    if not arguments:
        raise UserError("Name the images: files, folders, or - for one on stdin.")
    paths = []
    for argument in arguments:
        path = pathlib.Path(argument).expanduser()
        if argument == "-":
            paths.append(argument)
        elif image_files.is_folder(path):
            below = sorted(str(path / entry.name) for entry in image_files.below(path))
            require(bool(below), f"{files.printable(path)} holds no images.")
            paths += below
        else:
            require(
                "://" not in argument or os.path.lexists(path),
                f"{safe_text.printable(argument)} is on no disk of this machine. Images are read "
                "from disks alone, not from the web or from buckets: download it first.",
            )
            # Not exists: a link that leads nowhere, or to itself, is named with the reason.
            require(os.path.lexists(path), f"There is no file or folder {files.printable(path)}.")
            paths.append(str(path))
    if paths.count("-") > 1:
        raise UserError("stdin can be read only once. Give - once.")
    stdin = image_files.read_stream(sys.stdin.buffer, "stdin") if "-" in paths else b""
    return Photos(tuple(paths), stdin)
