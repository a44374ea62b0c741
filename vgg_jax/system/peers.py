"""Joins several processes to one job, passes messages between them, and ends them together.

Messages go through the coordination service that `jax.distributed.initialize` starts, not through
the devices, which would be busy while a process waits.
"""

import contextlib
import faulthandler
import itertools
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vgg_jax import safe_text
from vgg_jax.errors import UserError
from vgg_jax.system import command_line, jax_devices, messages
from vgg_jax.system.exit_notice import LastWords

T = TypeVar("T")

JOIN_S = 300  # Hosts may start minutes apart.
# A peer that is silent for so long counts as lost. Killed peers were observed to count as lost
# after nine tenths of it.
HEARTBEAT_S = 40
LEAVE_S = 5  # The others need time to learn why a process ends.
LOOK_MS = 1000  # A waiting process checks for Ctrl-C at this interval.
_FOREVER_MS = 10 * 24 * 3600 * 1000

_GO_ON = "If all processes are started again, the same command goes on from the last checkpoint."
_LOST = (
    "error: This process was ended by a signal, or because another process of its job has ended or "
    f"can't be reached. {_GO_ON}"
)


class Job:
    """The job of this process: its link to the other processes.

    Attributes:
      index: This process's index; 0 is the first process.
      count: The number of processes.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Joins the other processes.

        Args:
          arguments: Those of `jax.distributed.initialize`, without the timeouts.

        Raises:
          UserError: The others can't be joined; the port may be taken; or JAX finds no device.
        """
        _refuse_taken(arguments)
        who = "process {process_id} of {num_processes}" if arguments else "a TPU's host"
        self._words = LastWords(
            f"error: The processes of this job did not meet within {JOIN_S // 60} minutes; this is "
            f"{who.format(**arguments)}. Start all of them, with a coordinator address that each "
            "can reach."
        )
        faulthandler.disable()  # absl enables it, but it can't say why JAX ends a process.
        try:
            jax.distributed.initialize(
                **arguments,
                initialization_timeout=JOIN_S,
                heartbeat_timeout_seconds=HEARTBEAT_S,
                shutdown_timeout_seconds=HEARTBEAT_S,
            )
        except (ValueError, RuntimeError) as error:
            self._words.dismiss()
            raise UserError(
                f"The processes of this job can't be joined: {error} Set "
                "JAX_NUM_PROCESSES=1 to run this one alone."
            ) from error
        try:
            jax_devices.found()
        except UserError:
            self._words.dismiss()
            raise
        self.index, self.count = jax.process_index(), jax.process_count()
        self._words.change(_LOST)
        self._client = ocp.multihost.get_jax_distributed_client()
        self._names = (f"vgg_jax/{number}" for number in itertools.count())
        self._looks = itertools.count(1)  # JAX needs a number that rises with each call.
        self._ending = threading.Lock()  # Held by the thread that ends this process.
        self._watch = threading.Thread(target=self._end_with_others, daemon=True)
        self._watch.start()

    def from_first(self, function: Callable[[], Any], read: Callable[[Any], T]) -> T:
        """See `processes.from_first`."""
        name = next(self._names)
        if self.index == 0:
            value = function()
            self._send(name, value)
            return read(value)
        value = self._wait_for(name)
        try:
            return read(value)
        except Exception as error:
            raise messages.refusal("it has another form than what was awaited") from error

    def _wait_for(self, name: str) -> Any:
        while True:
            try:
                return self._receive(name, LOOK_MS)
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def wait_for_all(self) -> None:
        """Returns when all processes have called it."""
        self._client.wait_at_barrier(next(self._names), _FOREVER_MS)

    def all_stop(self) -> bool:
        """Returns whether all processes stop now, which they do soon after one gets SIGTERM.

        It is True at the same call on each of them, so all must call it equally often.
        """
        return multihost_utils.reached_preemption_sync_point(next(self._looks))

    def leave(self) -> None:
        """Waits for the others, so that JAX's exit handlers, which also do, don't wait long."""
        self.wait_for_all()
        self._send(_end_key(self.index), "")
        self._watch.join()
        self._words.dismiss()

    def end(self, error: BaseException) -> NoReturn:
        """Prints an error and ends all processes, without exit handlers, which would wait."""
        self._take_end()
        if is_lost(error):
            # The others notice too. No more messages may be sent: if the service is what was lost,
            # JAX would end this process.
            what = str(error).strip().partition("\n")[0]
            error = UserError(
                f"Another process of this job has ended, or can't be reached. {_GO_ON} ({what})"
            )
            self._exit(command_line.report(error))
        status = command_line.report(error)
        if status is None:
            traceback.print_exception(error)
            status = 1
        self._end_all(error, status)

    def end_reported(self, error: BaseException, status: int) -> NoReturn:
        """Ends all processes after an error that is printed already, this one with that status."""
        self._take_end()
        self._end_all(error, status)

    def _take_end(self) -> None:
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # The other thread ends this process.

    def _end_all(self, error: BaseException, status: int) -> NoReturn:
        what = str(error).partition("\n")[0]
        reason = f"Process {self.index} on {socket.gethostname()} has ended: {what}"
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            for index in range(self.count):
                self._send(_end_key(index), reason)
        self._wait_to_end()
        self._exit(status)

    def _send(self, name: str, value: Any) -> None:
        # It overwrites what a stranger may have sent under that name.
        message = messages.encode(name, value)
        self._client.key_value_set_bytes(name, message, allow_overwrite=True)

    def _receive(self, name: str, timeout_ms: int) -> Any:
        return messages.decode(name, self._client.blocking_key_value_get_bytes(name, timeout_ms))

    def _end_with_others(self) -> None:
        try:
            reason = self._reason_to_end()
        except jax.errors.JaxRuntimeError:  # The service is gone; JAX ends this process.
            return
        if reason and self._ending.acquire(blocking=False):
            print(f"\nerror: {safe_text.lines(reason)}", file=sys.stderr)
            self._wait_to_end()
            self._exit(2)

    def _reason_to_end(self) -> str:
        while True:
            try:
                return str(self._receive(_end_key(self.index), _FOREVER_MS))
            except UserError:  # It is a stranger's; one of this job may overwrite it.
                time.sleep(LOOK_MS / 1000)

    def _wait_to_end(self) -> None:
        # The first process runs the service, so it must not end before the others know the reason.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._client.wait_at_barrier("vgg_jax/end", LEAVE_S * 1000)
            jax.distributed.shutdown()

    def _exit(self, status: int) -> NoReturn:
        self._words.dismiss()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _refuse_taken(arguments: dict[str, Any]) -> None:
    # JAX would share the port with the job that uses it, and mix up the processes of both jobs.
    if arguments.get("process_id") != 0 or "coordinator_address" not in arguments:
        return
    address = arguments["coordinator_address"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(address.rpartition(":")[2])))
        except OSError as error:
            raise UserError(
                f"The port of JAX_COORDINATOR_ADDRESS={address} can't be used here "
                f"({error.strerror}). Choose another."
            ) from error


def is_lost(error: BaseException | None) -> bool:
    """Returns whether an error was caused by the loss of another process."""
    while error is not None:
        # It is XLA's own error, or a ValueError if the value of a failed step is fetched.
        if re.search(r"\b(Gloo|NCCL|coordination_service)\b", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_key(index: int) -> str:
    return f"vgg_jax/end/{index}"
