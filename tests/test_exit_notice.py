"""The last line about a process, which is printed after the process has ended."""

import subprocess
import sys

import pytest

ENDS = """
import os, signal, sys
from vgg_jax.system.exit_notice import LastWords
words = LastWords("too early")
words.change("gone")
if sys.argv[1] == "dismissed":
    words.dismiss()
elif sys.argv[1] != "exit":
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
os._exit(0)
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGABRT", "exit", "dismissed"])
def test_the_last_words_are_printed_unless_they_are_dismissed(how):
    done = subprocess.run(
        [sys.executable, "-c", ENDS, how], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.stderr.split() == ([] if how == "dismissed" else ["gone"])
