"""Commands that see a folder mounted in a way of their own, in a mount namespace."""

import shutil
import subprocess

import small_runs


def run(script, folder, *arguments):
    """Runs a shell script to its end, in which `mount` changes nothing outside.

    Args:
      script: The script. $0 is the folder, and $@ are the arguments.
      folder: The folder to mount at.
      arguments: The script's arguments, such as a command.
    """
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, *map(str, (folder, *arguments))],
        cwd=small_runs.ROOT,
        env=small_runs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def are_allowed(script, folder, *arguments):
    """Returns whether this machine lets a test run such a script."""
    return bool(shutil.which("unshare")) and not run(script, folder, *arguments).returncode
