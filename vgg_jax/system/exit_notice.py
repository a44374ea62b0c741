"""The last line on stderr about a process that was ended and can't print it itself."""

import contextlib
import subprocess

# The script ends when the pipe from this process closes, however this process has ended.
_SCRIPT = """
trap '' INT TERM HUP USR1
while IFS= read -r line; do words=$line; done
[ -z "$words" ] || printf '\\n%s\\n' "$words" >&2
"""


class LastWords:
    """A shell that waits for the end of this process, and then prints a line to stderr.

    When a process has lost its peers, JAX ends it from C++, where Python can't act. When memory
    runs out, the operating system kills a process.
    """

    def __init__(self, words: str) -> None:
        self._shell = subprocess.Popen(
            ["sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C must not reach the shell.
        )
        self.change(words)

    def change(self, words: str) -> None:
        """Replaces the line."""
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.write(f"{words}\n")
            self._shell.stdin.flush()

    def dismiss(self) -> None:
        """Ends the shell without printing a line."""
        self.change("")
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()
        self._shell.wait()
