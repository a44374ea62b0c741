"""A scan in a process of its own that a signal ends when it comes to a certain image."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

import opened

from vgg_jax.data import scan
from vgg_jax.data.source import Example, Source
from vgg_jax.data.specs import ScanOptions


@dataclasses.dataclass(frozen=True)
class Interrupted:
    """A source that sends a signal to a process when an image is read."""

    source: Source
    at: int
    process: int
    signal: int

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # pickle asks for some before `source` is there.
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        if index == self.at:
            os.kill(self.process, self.signal)
        return self.source[index]


def begin(
    folder: pathlib.Path, *, at: int = -1, number: int = signal.SIGKILL, num_workers: int = 0
) -> subprocess.Popen:
    """Starts a scan of FOLDER/train that keeps each message, with FOLDER/cache.

    Args:
      folder: The folder.
      at: The image that ends it; -1 means none.
      number: The signal that ends it.
      num_workers: Worker processes.
    """
    arguments = f"{str(folder)!r}, {at}, {int(number)}, {num_workers}"
    return subprocess.Popen(
        [sys.executable, "-c", f"import interrupted_scan; interrupted_scan.run({arguments})"],
        cwd=pathlib.Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: str, at: int, number: int, num_workers: int) -> None:
    """Scans, and prints the mean."""
    # A shell that starts a job in the background lets it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scan.KEPT_EVERY_S = 0.0
    source = Interrupted(opened.folder(folder, "train"), at, os.getpid(), number)
    options = ScanOptions(f"{folder}/cache", num_workers=num_workers, progress=False)
    print(scan.scan(source, "test", options).mean_rgb)
