"""The process of a task on this machine: it writes to the task's log, and ends with the sweep."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence

from launch.backends.devices import Devices
from launch.plan.task import Task
from vgg_jax.system import signals

_PR_SET_PDEATHSIG = 1


def start(task: Task, command: Sequence[str], devices: Devices, lock_fd: int) -> subprocess.Popen:
    """Starts a process that does a task.

    Args:
      task: What is to be done; the log names it.
      command: What does it here.
      devices: What the process is bound to.
      lock_fd: The file descriptor of the sweep's lock, which the process holds on to.
    """
    # Seconds between lines of a progress bar: logs are no terminals.
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
            start_new_session=True,  # The sweep passes Ctrl-C on.
            pass_fds=[lock_fd],
            preexec_fn=lambda: _prepare(devices, sweep_pid),
        )


def _prepare(devices: Devices, sweep_pid: int) -> None:
    devices.bind()
    # Should the sweep be killed, its runs save and end. Until exec this process would handle the
    # signal as the sweep does, and forget it; and a sweep that is killed already sends none.
    for number in signals.EXIT_STATUS:
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != sweep_pid:
        os.kill(os.getpid(), signal.SIGTERM)
