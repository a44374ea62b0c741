"""Leases: small files that say which process writes to a folder, on a disk or in a bucket."""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import re
import socket
import uuid

from vgg_jax.storage import files, flock, gcs, partial_files, running, sealed_json
from vgg_jax.storage.files import Path


@dataclasses.dataclass(frozen=True)
class Owner:
    """The process that has a lease.

    Attributes:
      doing: What it does in the folder, for example "training".
      host, pid: Where it runs, and its number there.
      since: When it took the lease, by its own clock.
      machine: The name of its machine: see `running.machine`.
      namespace: See `running.namespace`.
      started: See `running.started`.
      flock: Whether it holds a lock on the file while it lives.
      token: A random text, which makes the file of each lease different.
    """

    doing: str
    host: str
    pid: int
    since: str
    machine: str
    namespace: str
    started: str
    flock: bool
    token: str

    @classmethod
    def this_process(cls, doing: str) -> "Owner":
        """Returns this process, without a lock."""
        pid = os.getpid()
        return cls(
            doing=doing,
            host=socket.gethostname(),
            pid=pid,
            since=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC",
            machine=running.machine(),
            namespace=running.namespace(),
            started=running.started(pid),
            flock=False,
            token=uuid.uuid4().hex,
        )

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it runs, or ran, on this machine since that was started."""
        return self.machine == running.machine() != ""

    def is_running(self) -> bool | None:
        """Returns whether the process is there; None if that can't be told from here."""
        if not self.is_on_this_machine or self.namespace != running.namespace():
            return None
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):  # No process has so large a number.
            return False
        except PermissionError:  # It is another user's, of which /proc may say nothing.
            return None
        return running.started(self.pid) == self.started


@dataclasses.dataclass(frozen=True)
class Lease:
    """A file in a folder, whose name is used only once.

    Attributes:
      folder: The folder that is written to.
      name: What is written there; a folder may have writers of several things.
      generation: The number in the file's name. Of several leases, the highest counts.
    """

    folder: Path
    name: str
    generation: int

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f".{self.name}-writer.{self.generation}"

    def create(self, owner: Owner) -> int | None:
        """Creates the file with its contents, unless it exists.

        Returns:
          The descriptor that holds its lock; None where there is no flock.

        Raises:
          FileExistsError: Another process has created it.
        """
        if files.in_bucket(self.path):
            _create_object(self.path, _to_json(owner))
            return None
        all_generations = self.folder / f"{self.name}-writer"
        partial_files.remove_dead(all_generations)
        aside, descriptor = partial_files.create(all_generations)
        try:
            owner = dataclasses.replace(owner, flock=flock.take(descriptor))
            with files.named(self.path):
                os.write(descriptor, _to_json(owner))
            _rename_to_new(aside, self.path)
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            aside.unlink(missing_ok=True)
        if owner.flock:
            return descriptor
        os.close(descriptor)
        return None

    def owner(self) -> Owner | None:
        """Reads who has the lease; returns None if the file doesn't say it.

        Raises:
          FileNotFoundError: The lease has ended.
        """
        try:
            values = json.loads(files.read(self.path))
            sealed_json.require_types(values, {f.name: f.type for f in dataclasses.fields(Owner)})
            return Owner(**values)
        except (ValueError, TypeError, RecursionError, IsADirectoryError):
            return None

    def is_locked(self) -> bool | None:
        """Returns whether a process holds the file's lock; None where there is no flock."""
        if files.in_bucket(self.path):
            return None
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return flock.is_held(descriptor)
        finally:
            os.close(descriptor)

    def renew(self, owner: Owner) -> None:
        """Shows others that the owner is alive.

        Raises:
          FileNotFoundError: The file on a disk isn't there any more.
        """
        if files.in_bucket(self.path):
            gcs.write(self.path, _to_json(owner))
        else:
            os.utime(self.path)

    def renewal(self) -> object:
        """Returns a value that changes when the lease is renewed.

        Raises:
          FileNotFoundError: The lease has ended.
        """
        if files.in_bucket(self.path):
            return gcs.generation(self.path)
        # NFS asks the server when a file is opened, but may answer `stat` from a cache.
        with self.path.open("rb") as file:
            about = os.fstat(file.fileno())
        return about.st_mtime_ns, about.st_ino

    def remove(self) -> None:
        """Removes the file, if it is there and can be removed."""
        with gcs.errors_ignored(), contextlib.suppress(OSError):
            self.path.unlink()


def found(folder: Path, name: str) -> list[Lease]:
    """Returns the leases of a name in a folder, the highest last."""
    prefix = f".{name}-writer."
    names = gcs.names(folder, prefix) if files.in_bucket(folder) else _names(folder)
    numbers = [re.fullmatch(rf"{re.escape(prefix)}(\d+)", name) for name in names]
    return [Lease(folder, name, number) for number in sorted(int(n[1]) for n in numbers if n)]


def _names(folder: pathlib.Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _to_json(owner: Owner) -> bytes:
    return json.dumps(dataclasses.asdict(owner)).encode()


def _create_object(path: Path, data: bytes) -> None:
    try:
        gcs.create(path, data)
    except FileExistsError:
        if gcs.read(path) != data:  # Otherwise the bucket was asked twice, and it is ours.
            raise


def _rename_to_new(aside: pathlib.Path, path: pathlib.Path) -> None:
    """Gives a file another name, which no file may have.

    Raises:
      FileExistsError: A file has it.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        if aside.stat().st_nlink < 2:  # Otherwise NFS asked its server twice, and it is ours.
            raise
    except OSError:  # This file system has no hard links. Others may see the file empty.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        aside.replace(path)
