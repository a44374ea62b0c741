"""Files that grow, for a folder that may be in a bucket, whose objects can't."""

import contextlib
import pathlib
import tempfile

from vgg_jax.storage import files, gcs
from vgg_jax.storage.files import Path


class Mirror:
    """A folder on a disk, whose files are brought to the folder that they are meant for.

    That is the same one, unless it is in a bucket.

    Attributes:
      here: The folder on a disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = contextlib.ExitStack()
        self._sizes: dict[pathlib.Path, int] = {}
        if files.in_bucket(folder):
            made = self._temporary.enter_context(tempfile.TemporaryDirectory())
            self.here = pathlib.Path(made)
        else:
            self.here = folder

    def sync(self) -> None:
        """Brings there what is new: files that have another size than at the last time."""
        if self.here is self._folder:
            return
        for file in self.here.rglob("*"):
            data = file.read_bytes() if file.is_file() else b""
            if len(data) != self._sizes.get(file, 0):
                gcs.write(self._folder / file.relative_to(self.here), data)
                self._sizes[file] = len(data)

    def close(self) -> None:
        """Removes what is here alone."""
        self._temporary.close()
