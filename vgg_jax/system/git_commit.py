"""The git commit of the code that runs."""

import os
import pathlib
import subprocess


def commit() -> str:
    """Returns the git commit of this code: "abc1234", or "abc1234-dirty" if files were changed.

    Returns "" if the package is not in a git checkout of its own, or git is not installed.
    """
    here = pathlib.Path(__file__)
    try:
        _git("ls-files", "--error-unmatch", here.name, folder=here.parent)
        commit = _git("rev-parse", "--short=7", "HEAD", folder=here.parent)
        # `git describe --dirty` would write the index. A kill then left its lock file, with which
        # git refuses to commit.
        changed = _git("status", "--porcelain", "--untracked-files=no", folder=here.parent)
        return f"{commit}-dirty" if changed else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str, folder: pathlib.Path) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
    ).stdout.strip()
