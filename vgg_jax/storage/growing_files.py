"""Files that grow, in a folder that may be in a bucket, where objects can't grow."""

import contextlib
import pathlib

from vgg_jax.storage import files, gcs, owned
from vgg_jax.storage.files import Path


class Mirror:
    """A folder on a disk, from which files are copied to their real folder.

    The two are the same folder, unless the real one is in a bucket.

    Attributes:
      here: The folder on a disk, to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = contextlib.ExitStack()
        self._sizes: dict[pathlib.Path, int] = {}
        if files.in_bucket(folder):
            self.here = self._temporary.enter_context(owned.temporary_folder())
        else:
            self.here = folder

    def sync(self) -> None:
        """Uploads the files whose size has changed since the last call; does nothing on a disk."""
        if self.here is self._folder:
            return
        for file in self.here.rglob("*"):
            data = file.read_bytes() if file.is_file() else b""
            if len(data) != self._sizes.get(file, 0):
                gcs.write(self._folder / file.relative_to(self.here), data)
                self._sizes[file] = len(data)

    def close(self) -> None:
        """Removes the folder on a disk, if the real folder is in a bucket."""
        self._temporary.close()
