"""How commands end: output that nobody reads."""

import re
import subprocess
import sys

import forked
import pytest
import small_runs

from vgg_jax import base_config
from vgg_jax.runs import run_config


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


sweep = forked.fixture("launch.sweep")
predict = forked.fixture("vgg_jax.predict")


UNREAD = 128 + 13

COMMANDS = {
    "lines": ("-c", "from vgg_jax.system import command_line\n"
              "command_line.run(lambda _: [print('a', flush=True) for _ in range(10**5)])"),
    "at the exit": ("-c", "import time\nfrom vgg_jax.system import command_line\n"
                    "command_line.run(lambda _: print('a') or time.sleep(0.5))"),
    "describe": ("-m", "vgg_jax.describe", "--net=all"),
    "help": ("-m", "vgg_jax.main", "--help"),
    "sweep": ("-m", "launch.sweep", "--tables=3,4,5,6", "--dry_run"),
}  # fmt: skip


@pytest.mark.runs
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_output_that_nobody_reads_ends_a_command_quietly(command):
    status, _, errors = piped("true", sys.executable, *command)
    assert (status, errors) == (UNREAD, "")


@pytest.mark.runs
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_output_to_a_full_disk_is_one_error_that_says_so(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=small_runs.ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: The output can't be written: its disk is full.")
    assert done.stderr.count("\n") == 1


@pytest.mark.runs
def test_the_head_of_predictions(trained, folder):
    """The progress bar is on stderr, which is still read."""
    command = ("-m", "vgg_jax.predict", folder / "val", f"--workdir={trained}")
    status, output, errors = piped("head -1", sys.executable, *command)
    assert status in (0, UNREAD)  # 0 if all was written before `head` ended.
    assert output.count("\n") == 1
    assert "Traceback" not in errors
    assert "Broken" not in errors


WRONG_FLAGS = {
    "misspelt": (["--tabels=3"], "error: There is no flag --tabels. Did you mean --tables?"),
    "swapped": (["--urns=a_256"], "error: There is no flag --urns. Did you mean --runs?"),
    "key": (
        ["--mini", "--config.num_epochs=2", "--config.seed=3", "--dry_run"],
        "error: Put the keys of the config at the end, behind --: "
        "-- --config.num_epochs=2 --config.seed=3.\n",
    ),
    "no number": (["--seeds=two"], "error: --seeds=two: not a whole number."),
    "below": (["--seeds=0"], "error: --seeds=0: 0 is not a positive integer."),
    "no choice": (["--backend=cloud"], "error: --backend=cloud: value should be one of <local|"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG_FLAGS.values(), ids=WRONG_FLAGS)
def test_a_wrong_flag_is_one_line(sweep, arguments, message):
    done = sweep(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["vgg_jax", "launch"])
def test_a_package_lists_its_commands(package):
    done = small_runs.run_module(package)
    assert (done.returncode, done.stderr) == (0, "")
    for name in re.findall(rf"python -m {package}\.(\w+) ", done.stdout):
        module = small_runs.ROOT / package / name
        file = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        assert "__main__" in file.read_text()
    sources = [*(small_runs.ROOT / package).glob("*.py")]
    commands = [file.stem for file in sources if "command_line.run(" in file.read_text()]
    assert commands
    assert all(f"python -m {package}.{name} " in done.stdout for name in commands)


def test_a_flag_that_is_missing_is_explained(predict):
    done = predict("photo.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --workdir is missing. The folder of the run whose net ")


@pytest.mark.runs  # It starts `main`, but no run.
def test_the_help_lists_the_flags_and_each_key_with_its_comment():
    done = small_runs.run_module("vgg_jax.main", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for flag in ("config", "workdir", "mode", "out"):
        assert f"  --{flag}: " in done.stdout
    listed = re.findall(r"^  --config\.([\w.]+)=.*\n      \S", done.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(run_config.flat(base_config.get_config()))


def test_outputs_that_are_closed_and_relative_xdg_folders_do_not_matter():
    code = (
        "import os\nfrom vgg_jax.system import command_line\n"
        "command_line.run(lambda _: print('a') or os._exit('XDG_CACHE_HOME' in os.environ))"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" >&- 2>&-', "bash", sys.executable, "-c", code],
        cwd=small_runs.ROOT,
        env=small_runs.environment(XDG_CACHE_HOME="relative"),
        check=False,
    )
    assert done.returncode == 0


def test_the_help_is_printed_on_any_terminal():
    for columns in ("1", "-3", "abc"):
        done = small_runs.run_module("vgg_jax.predict", "--help", COLUMNS=columns)
        assert (done.returncode, done.stderr) == (0, "")
        assert "--workdir: The folder of the run" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--workdir=x"], "An argument is empty. Give it a value, or leave it out."),
        (["x.jpg", "--workdir="], "--workdir is empty. Give it a value, or leave it out."),
        (["x.jpg", "--workdir=x", "--scales="], "--scales is empty. Give it"),
        (["x.jpg", "--workdir=x", "--method="], "--method is empty. Give it"),
        (["--workdir=x", f"--csv={'x' * 300}.csv"], "x.csv: File name too long. Check"),
    ],
)
def test_what_an_unset_variable_or_a_wrong_path_gives_is_one_error(predict, arguments, message):
    done = predict(small_runs.ROOT / "README.md", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


def test_another_broken_pipe_is_no_quiet_end():
    code = (
        "import os\nfrom vgg_jax.system import command_line\n"
        "def main(_):\n    r, w = os.pipe()\n    os.close(r)\n    os.write(w, b'a')\n"
        "command_line.run(main)"
    )
    status, _, errors = piped("cat", sys.executable, "-c", code)
    assert status == 1
    assert "BrokenPipeError" in errors


@pytest.mark.runs
@pytest.mark.parametrize(
    ("allocates", "place", "less"),
    [
        ("import jax; jax.numpy.zeros(2**50).block_until_ready()", "device", "micro_batches=2"),
        ("import numpy; numpy.ones(2**56)", "host", "data.num_workers"),
    ],
)
def test_full_memory_is_one_error_that_says_what_needs_less(allocates, place, less):
    code = f"from vgg_jax.system import command_line\ndef main(_):\n    {allocates}\n"
    done = small_runs.run_python("-c", f"{code}command_line.run(main)")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"error: The {place}'s memory is full (" in done.stderr
    assert less in done.stderr
    assert "--config.eval.batch_px=" in done.stderr


@pytest.mark.runs
def test_another_error_of_jax_keeps_its_traceback():
    code = "import jax\nfrom vgg_jax.system import command_line\ndef main(_):\n"
    raised = "    raise jax.errors.JaxRuntimeError('INTERNAL: a fault')\n"
    done = small_runs.run_python("-c", f"{code}{raised}command_line.run(main)")
    assert done.returncode == 1
    assert "JaxRuntimeError: INTERNAL: a fault" in done.stderr
