"""Devices that JAX doesn't find: one error."""

import signal

import pytest
import small_runs

pytestmark = pytest.mark.runs


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("cuda", ("it finds no cuda device", "Unable to initialize backend 'cuda'")),
        ("nonsense", ("Unable to initialize backend 'nonsense'",)),
    ],
)
def test_a_platform_that_is_not_there(folder, trained, tmp_path, mode, wanted, reason):
    workdir = tmp_path / "run" if mode == "train" else trained
    done = small_runs.run_process(
        *small_runs.one_epoch(folder, workdir, f"--mode={mode}"),
        JAX_PLATFORMS=wanted,
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(
        tuple(f"error: JAX can't use JAX_PLATFORMS={wanted}: {found}" for found in reason)
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_jax_must_compile(trained):
    done = small_runs.run_process("--mode=eval", f"--workdir={trained}", JAX_DISABLE_JIT="1")
    assert done.returncode == 2
    assert done.stderr == (
        "error: JAX_DISABLE_JIT is set, and nets are computed by compiled programs. Unset it.\n"
    )


def test_a_job_without_the_platform_ends(tmp_path):
    processes = small_runs.start_processes(
        2, 1, *small_runs.one_epoch(tmp_path, tmp_path / "run"), JAX_PLATFORMS="nonsense"
    )
    for status, _, errors in small_runs.ends(processes, timeout_s=60):
        assert status in (2, -signal.SIGABRT)
        assert "Traceback" not in errors
    assert "error: JAX can't use JAX_PLATFORMS=nonsense: " in errors
