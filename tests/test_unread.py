"""Files that can't be read for a reason that is no damage: nobody is told to remove them."""

import contextlib
import errno
import os
import resource

import pytest
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.evaluation import posteriors
from vgg_jax.runs import run_config
from vgg_jax.storage import unread

NOT_DAMAGED = r"Too many open files. It needn't be damaged. Once it can be read, the same command"


@contextlib.contextmanager
def _no_file_can_be_opened():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_descriptor = os.dup(0)
    os.close(next_descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_descriptor, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.runs
def test_files_of_a_workdir(trained):
    path = next((trained / "eval").glob("*.npz"))
    with _no_file_can_be_opened():
        with pytest.raises(UserError, match=f"config.json can't be read: {NOT_DAMAGED}"):
            run_config.load(trained)
        with pytest.raises(UserError, match=f"npz can't be read: {NOT_DAMAGED}"):
            posteriors.read(path)


def test_what_tensorstore_says(tmp_path):
    forbidden = ValueError('PERMISSION_DENIED: Error opening "cast": Permission denied [...]')
    with pytest.raises(UserError, match="can't be read: Permission denied"):
        unread.refuse(tmp_path, forbidden)
    unread.refuse(tmp_path, ValueError("the digest of conv1_1 differs"))
    unread.refuse(tmp_path, FileNotFoundError(errno.ENOENT, "No such file or directory"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_lies_in_a_folder_of_somebody_elses(tmp_path):
    small_runs.fill(tmp_path, {"params/d/1": b"", "run/metadata": b""})
    assert unread.forbidden_below(tmp_path) == ""
    (tmp_path / "params/d").chmod(0)
    assert unread.forbidden_below(tmp_path) == "Permission denied"
    (tmp_path / "params/d").chmod(0o700)
