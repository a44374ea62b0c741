"""Disks without flock, as some network file systems are."""

import errno
import fcntl

# What another process runs first.
CODE = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


def patch(monkeypatch):
    """Makes flock fail in this process."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
