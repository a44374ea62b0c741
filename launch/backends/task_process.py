"""Starts the process of a task on this machine, which writes a log and ends with the sweep."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence

from launch.backends.devices import Devices
from launch.plan.task import Task
from vgg_jax.system import signals

_PR_SET_PDEATHSIG = 1


def start(
    task: Task, command: Sequence[str], devices: Devices, lock_fd: int | None
) -> subprocess.Popen:
    """Starts the process of a task.

    Args:
      task: The task. The process appends its output to the task's log.
      command: The command of the process. In a cloud it launches the task's own command.
      devices: The devices that the process is bound to.
      lock_fd: The file descriptor of the sweep's lock. The process inherits it, so that the lock is
        held until the process ends. None where there is no flock.
    """
    # In a log, a progress bar needs no more than one line every 5 seconds.
    environment = {"TQDM_MININTERVAL": "5", **os.environ, **devices.environment()}
    task.log.parent.mkdir(parents=True, exist_ok=True)
    sweep_pid = os.getpid()
    with task.log.open("a") as log:
        print(f"\n$ {task.command}", file=log, flush=True)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which then stops its tasks.
            pass_fds=[] if lock_fd is None else [lock_fd],
            preexec_fn=lambda: _prepare(devices, sweep_pid),
        )


def _prepare(devices: Devices, sweep_pid: int) -> None:
    devices.bind()
    # If the sweep is killed, the kernel sends this process SIGTERM, and its run saves and ends.
    # Before exec, the sweep's own handlers would only note the signal, and it would be lost, so
    # they are reset. If the sweep was killed even before prctl, this process signals itself.
    for number in signals.handled():
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != sweep_pid:
        os.kill(os.getpid(), signal.SIGTERM)
