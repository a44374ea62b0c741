"""How commands end: output that nobody reads."""

import subprocess
import sys

import pytest
import small_runs


def piped(reads, *command, **more):
    """Runs a command whose output goes to a shell command; returns its status and its errors."""
    done = subprocess.run(
        ["bash", "-c", f'"$@" | {reads}; exit ${{PIPESTATUS[0]}}', "bash", *map(str, command)],
        cwd=small_runs.ROOT,
        env=small_runs.environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


UNREAD = 128 + 13

COMMANDS = {
    "lines": ("-c", "from vgg_jax.system import command_line\n"
              "command_line.run(lambda _: [print('a', flush=True) for _ in range(10**5)])"),
    "at the exit": ("-c", "import time\nfrom vgg_jax.system import command_line\n"
                    "command_line.run(lambda _: print('a') or time.sleep(0.5))"),
    "describe": ("-m", "vgg_jax.describe", "--net=all"),
    "sweep": ("-m", "launch.sweep", "--tables=3,4,5,6", "--dry_run"),
}  # fmt: skip


@pytest.mark.runs
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_output_that_nobody_reads_ends_a_command_quietly(command):
    status, _, errors = piped("true", sys.executable, *command)
    assert (status, errors) == (UNREAD, "")


@pytest.mark.runs
def test_the_head_of_predictions(trained, folder):
    """The progress bar is on stderr, which is still read."""
    command = ("-m", "vgg_jax.predict", folder / "val", f"--workdir={trained}")
    status, output, errors = piped("head -1", sys.executable, *command)
    assert status in (0, UNREAD)  # 0 if all was written before `head` ended.
    assert output.count("\n") == 1
    assert "Traceback" not in errors
    assert "Broken" not in errors


def test_another_broken_pipe_is_no_quiet_end():
    code = (
        "import os\nfrom vgg_jax.system import command_line\n"
        "def main(_):\n    r, w = os.pipe()\n    os.close(r)\n    os.write(w, b'a')\n"
        "command_line.run(main)"
    )
    status, _, errors = piped("cat", sys.executable, "-c", code)
    assert status == 1
    assert "BrokenPipeError" in errors
