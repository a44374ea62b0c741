"""One of several processes that have met: messages between them, and their common end.

Messages go through the coordination service that `jax.distributed.initialize` starts, not through
devices, which would be kept busy while they wait.
"""

import contextlib
import faulthandler
import itertools
import os
import pickle
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vgg_jax.errors import UserError
from vgg_jax.system import command_line
from vgg_jax.system.exit_notice import LastWords

T = TypeVar("T")

JOIN_S = 300  # Hosts may start minutes apart.
# A peer that is silent so long counts as lost; killed ones were seen to after nine tenths of it.
HEARTBEAT_S = 40
LEAVE_S = 5  # The others need time to learn why one ends.
LOOK_MS = 1000  # A process that waits looks at Ctrl-C so often.
_FOREVER_MS = 10 * 24 * 3600 * 1000

_GO_ON = "The same command, on all of them, goes on from the last checkpoint."
_LOST = (
    "error: This process was ended, by a signal or since another process of its job has ended or "
    f"is out of reach. {_GO_ON}"
)


class Job:
    """This process's place among the others.

    Attributes:
      index: Which of them it is; 0 is the first.
      count: How many there are.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Meets the others.

        Args:
          arguments: What `jax.distributed.initialize` takes, without the times.

        Raises:
          UserError: They can't be met; the port may be taken.
        """
        _refuse_taken(arguments)
        who = "process {process_id} of {num_processes}" if arguments else "a TPU's host"
        self._words = LastWords(
            f"error: The processes of this job did not meet within {JOIN_S // 60} minutes; this is "
            f"{who.format(**arguments)}. Start all of them, with a coordinator address that each "
            "can reach."
        )
        faulthandler.disable()  # absl's, which says nothing of why JAX ends a process.
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
                f"The processes of this job can't be joined: {error} JAX_NUM_PROCESSES=1 makes "
                "this one a job of its own."
            ) from error
        self.index, self.count = jax.process_index(), jax.process_count()
        self._words.change(_LOST)
        self._client = ocp.multihost.get_jax_distributed_client()
        self._names = (f"vgg_jax/{number}" for number in itertools.count())
        self._looks = itertools.count(1)  # JAX wants a number that rises with each question.
        self._ending = threading.Lock()  # Held by the thread that ends this process.
        self._watch = threading.Thread(target=self._end_with_others, daemon=True)
        self._watch.start()

    def from_first(self, function: Callable[[], T]) -> T:
        """See `processes.from_first`."""
        name = next(self._names)
        if self.index == 0:
            value = function()
            self._client.key_value_set_bytes(name, pickle.dumps(value))
            return value
        while True:
            try:
                return pickle.loads(self._client.blocking_key_value_get_bytes(name, LOOK_MS))
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def wait_for_all(self) -> None:
        """Returns when all processes have called it."""
        self._client.wait_at_barrier(next(self._names), _FOREVER_MS)

    def all_stop(self) -> bool:
        """Tells whether all processes stop now, as they do soon after one got SIGTERM.

        True on each at the same call. All must call it equally often.
        """
        return multihost_utils.reached_preemption_sync_point(next(self._looks))

    def leave(self) -> None:
        """Waits for the others, so that JAX's exit handlers, which do so too, don't wait long."""
        self.wait_for_all()
        self._client.key_value_set(_end_key(self.index), "")
        self._watch.join()
        self._words.dismiss()

    def end(self, error: BaseException) -> NoReturn:
        """Prints an error and ends all processes, past the exit handlers, which would wait."""
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # The other thread ends this process.
        if is_lost(error):
            # The others notice too. Nothing more through the service: it may be what was lost, and
            # JAX then ends this process.
            what = str(error).strip().partition("\n")[0]
            error = UserError(
                f"Another process of this job has ended, or can't be reached. {_GO_ON} ({what})"
            )
            self._exit(command_line.report(error))
        status = command_line.report(error)
        if status is None:
            traceback.print_exception(error)
            status = 1
        what = str(error).partition("\n")[0]
        reason = f"Process {self.index} on {socket.gethostname()} has ended: {what}"
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            for index in range(self.count):
                self._client.key_value_set(_end_key(index), reason, allow_overwrite=True)
        self._wait_to_end()
        self._exit(status)

    def _end_with_others(self) -> None:
        try:
            reason = self._client.blocking_key_value_get(_end_key(self.index), _FOREVER_MS)
        except jax.errors.JaxRuntimeError:  # The service is gone; JAX ends this process.
            return
        if reason and self._ending.acquire(blocking=False):
            print(f"\nerror: {reason}", file=sys.stderr)
            self._wait_to_end()
            self._exit(2)

    def _wait_to_end(self) -> None:
        # The first process has the service: it must not go before the others have learned why.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._client.wait_at_barrier("vgg_jax/end", LEAVE_S * 1000)
            jax.distributed.shutdown()

    def _exit(self, status: int) -> NoReturn:
        self._words.dismiss()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _refuse_taken(arguments: dict[str, Any]) -> None:
    # JAX would share the port with the job that has it, and mix up the processes of both.
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
    """Tells whether an error comes of a process that isn't there any more."""
    while error is not None:
        # XLA's own, or a ValueError where the value of a failed step is fetched.
        if re.search(r"\b(Gloo|NCCL|coordination_service)\b", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_key(index: int) -> str:
    return f"vgg_jax/end/{index}"
