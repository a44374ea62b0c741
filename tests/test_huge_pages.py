"""Commands that start anew to have huge pages, where that helps."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_runs

# A package. It tells on standard error each time that it begins, and its command what it sees.
PACKAGE = """
import os, sys
from vgg_jax.system import huge_pages
huge_pages._POLICY = sys.argv[1]
print("begins", file=sys.stderr, flush=True)
{before}
huge_pages.use("package.command", "package.other")
"""
COMMAND = """
import json, os, sys
print(json.dumps([os.environ.get("GLIBC_TUNABLES"), sys.argv[2:], sys.warnoptions, os.getpid()]))
"""
# A user's own program, which runs the command in its process.
PROGRAM = """
import runpy, sys
print("begins", file=sys.stderr, flush=True)
runpy.run_module("package.command", run_name="__main__", alter_sys={alter_sys})
"""
OLD_GLIBC = "os.confstr = lambda name: 'glibc 2.34'"
MUSL = "def confstr(name): raise ValueError\nos.confstr = confstr"
NO_PROGRAM = "sys.executable = '/nowhere/python'"
ANOTHER_PROGRAM = "sys.executable = '/bin/sh'"
SETTING = "glibc.malloc.hugetlb=1"

_POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")
POLICY = _POLICY.read_text() if _POLICY.exists() else "[never]"


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


def run(policy, before="", start=("-m", "package.command"), typed="", **more):
    """Runs the command; returns how often it began, and what it saw."""
    package = PACKAGE.format(before=before)
    files = {"__init__.py": package.encode(), "command.py": COMMAND.encode()}
    small_runs.fill(policy.parent / "package", files)
    environment = small_runs.environment(PYTHONPATH=str(small_runs.ROOT), **more)
    if not more:
        del environment["GLIBC_TUNABLES"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", *start, policy, "--a=b c", "é"],
        cwd=policy.parent,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        output, errors = started.communicate(typed)
    assert started.returncode == 0, errors
    assert {*errors.split()} == {"begins"}
    *seen, pid = json.loads(re.search(r"\[.*\]$", output, re.MULTILINE)[0])
    assert pid == started.pid
    return errors.count("begins"), seen


LIBRARY, VERSION = platform.libc_ver()
needs_glibc = pytest.mark.skipif(
    LIBRARY != "glibc" or tuple(map(int, VERSION.split(".")[:2])) < (2, 35),
    reason="glibc has no setting for huge pages before 2.35",
)


@needs_glibc
@pytest.mark.parametrize("how", ["-m package.command", "-mpackage.command", "-Bm package.command"])
def test_a_command_starts_anew_with_the_same_process_arguments_and_options(policy, how):
    assert run(policy, start=how.split()) == (2, [SETTING, ["--a=b c", "é"], ["error"]])


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


@needs_glibc
def test_signals_wait_while_a_command_starts_anew():
    again = "from vgg_jax.system import signals; signals.handle(); print('goes on')"
    code = (
        "import os, signal, sys\n"
        "from vgg_jax.system import signals\n"
        "signals.handle()\n"
        "signals.hold()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        f"os.execv(sys.executable, [sys.executable, '-c', {again!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=small_runs.ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\nStopped.\n"


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]", None])
def test_another_policy_of_the_kernel_needs_no_new_start(policy, text):
    if text is None:
        before = "huge_pages._POLICY = '/nowhere'"
    else:
        before = ""
        policy.write_text(text)
    begun, seen = run(policy, before)
    assert (begun, seen[0]) == (1, None)


@pytest.mark.parametrize("given", ["", "glibc.malloc.check=1"])
def test_settings_of_the_users_own_stay(policy, given):
    begun, seen = run(policy, GLIBC_TUNABLES=given)
    assert (begun, seen[0]) == (1, given)


@pytest.mark.parametrize("before", [OLD_GLIBC, MUSL, NO_PROGRAM, ANOTHER_PROGRAM])
def test_where_it_would_not_help_a_command_goes_on_as_it_is(policy, before):
    begun, seen = run(policy, before)
    assert (begun, seen[0]) == (1, None)


@pytest.mark.parametrize("alter_sys", [False, True])
def test_a_program_that_runs_a_command_is_not_begun_twice(policy, tmp_path, alter_sys):
    (tmp_path / "program.py").write_text(PROGRAM.format(alter_sys=alter_sys))
    begun, seen = run(policy, start=["program.py"])
    assert (begun, seen) == (2, [None, ["--a=b c", "é"], ["error"]])  # It, and the package.


@pytest.mark.parametrize("module", ["pdb", "cProfile"])
def test_a_debugger_and_a_profiler_keep_sight_of_it(policy, module):
    begun, seen = run(policy, start=["-m", module, "-m", "package.command"], typed="c\nq\n")
    assert (begun, seen[0]) == (1, None)


def test_another_module_of_the_package_goes_on_as_it_is(policy):
    begun, seen = run(policy, "sys.orig_argv[-4] = 'package.third'")
    assert (begun, seen[0]) == (1, None)
