"""What is said of a process that can't say it any more."""

import contextlib
import subprocess

# It ends when the pipe from this process does, however this one ended.
_SCRIPT = """
trap '' INT TERM HUP
while IFS= read -r line; do words=$line; done
[ -z "$words" ] || printf '\\n%s\\n' "$words" >&2
"""


class LastWords:
    """A shell that waits for the end of this process, and then prints a line to stderr.

    JAX ends a process whose peers are lost from within C++, where Python has no say; the system
    ends one for want of memory.
    """

    def __init__(self, words: str) -> None:
        self._shell = subprocess.Popen(
            ["sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the processes of the terminal's session.
        )
        self.change(words)

    def change(self, words: str) -> None:
        """Replaces the line."""
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.write(f"{words}\n")
            self._shell.stdin.flush()

    def dismiss(self) -> None:
        """Leaves nothing to be said."""
        self.change("")
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()
        self._shell.wait()
