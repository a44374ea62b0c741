"""flock, which many mounts of NFS and Lustre lack, and which some hold on one machine alone."""

import fcntl


def take(descriptor: int) -> bool:
    """Locks a file, which is waited for; returns False where there is no flock.

    The lock is held until the file is closed here and in all processes that inherited it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def is_held(descriptor: int) -> bool | None:
    """Returns whether another open file holds the lock; None where there is no flock.

    If none does, none can take it until this one is closed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
