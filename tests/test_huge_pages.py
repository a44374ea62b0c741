"""Commands that start anew to have huge pages, where that helps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_runs

# Tells on standard error each time that it begins, and then what the command sees.
COMMAND = """
import json, os, pathlib, sys
from vgg_jax.system import huge_pages
huge_pages._POLICY = pathlib.Path(sys.argv[1])
print("begins", file=sys.stderr, flush=True)
{before}
huge_pages.use()
print(json.dumps([os.getpid(), os.environ.get("GLIBC_TUNABLES"), sys.argv[2:], sys.warnoptions]))
"""
OLD_GLIBC = "os.confstr = lambda name: 'glibc 2.34'"
MUSL = "def confstr(name): raise ValueError\nos.confstr = confstr"
NO_PROGRAM = "sys.executable = '/nowhere/python'"
SETTING = "glibc.malloc.hugetlb=1"

_POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")
POLICY = _POLICY.read_text() if _POLICY.exists() else "[never]"


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


def run(policy, before="", runner=(), **more):
    """Runs a command; returns its process, how often it began, and what it saw."""
    (policy.parent / "command.py").write_text(COMMAND.format(before=before))
    environment = small_runs.environment(PYTHONPATH=policy.parent, **more)
    if not more:
        del environment["GLIBC_TUNABLES"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", *runner, "-m", "command", policy, "--a=b c", "é"],
        cwd=small_runs.ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        output, errors = started.communicate()
    assert started.returncode == 0, errors
    return started.pid, errors.count("begins"), json.loads(output.splitlines()[0])


needs_glibc = pytest.mark.skipif(
    tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))) < (2, 35),
    reason="glibc has no setting for huge pages before 2.35",
)


@needs_glibc
def test_a_command_starts_anew_with_the_same_process_arguments_and_options(policy):
    pid, begun, seen = run(policy)
    assert begun == 2
    assert seen == [pid, SETTING, ["--a=b c", "é"], ["error"]]


@needs_glibc
@pytest.mark.skipif("[never]" in POLICY, reason="this kernel gives no huge pages")
def test_glibc_asks_the_kernel_for_huge_pages():
    code = (
        "block = bytearray(b'a') * 2**26\n"
        "import re\n"
        "kept = re.findall(r'AnonHugePages: +(\\d+)', open('/proc/self/smaps').read())\n"
        "print(sum(map(int, kept)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"GLIBC_TUNABLES": SETTING},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 2**15  # Half of it, in kB.


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]", None])
def test_another_policy_of_the_kernel_needs_no_new_start(policy, text):
    policy.unlink() if text is None else policy.write_text(text)
    _, begun, seen = run(policy)
    assert (begun, seen[1]) == (1, None)


@pytest.mark.parametrize("given", ["", "glibc.malloc.check=1"])
def test_settings_of_the_users_own_stay(policy, given):
    _, begun, seen = run(policy, GLIBC_TUNABLES=given)
    assert (begun, seen[1]) == (1, given)


@pytest.mark.parametrize("before", [OLD_GLIBC, MUSL, NO_PROGRAM])
def test_where_it_would_not_help_a_command_goes_on_as_it_is(policy, before):
    _, begun, seen = run(policy, before)
    assert (begun, seen[1]) == (1, None)


@pytest.mark.parametrize("runner", [("-m", "cProfile"), ("-m", "pdb", "-c", "continue")])
def test_a_profiler_and_a_debugger_keep_sight_of_it(policy, runner):
    _, begun, seen = run(policy, runner=runner)
    assert (begun, seen[1]) == (1, None)
