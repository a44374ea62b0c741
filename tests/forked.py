"""A command that is called many times, in copies of one process that has imported it already.

Each call is a process of its own, with its own arguments, environment, streams and exit status, as
`small_runs.run_module` starts it, but without the second that the imports take. Its environment
holds for what is read after the imports.
"""

import contextlib
import gc
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
import small_runs


class Command:
    """A module with `main`, which is imported when it is first called."""

    def __init__(self, module):
        self._module, self._server = module, None

    def __call__(self, *args, **more):
        """Calls the command, and returns the process; `more` joins its environment."""
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, __file__, self._module],
                cwd=small_runs.ROOT,
                env=small_runs.environment(PYTHONPATH=str(small_runs.ROOT)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        args = [*map(str, args)]
        with tempfile.TemporaryDirectory() as folder:
            call = {"args": args, "environment": small_runs.environment(**more), "folder": folder}
            print(json.dumps(call), file=self._server.stdin, flush=True)
            status = self._server.stdout.readline()
            assert status, "The process that imported the command has ended."
            texts = [(pathlib.Path(folder) / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess([self._module, *args], int(status), *texts)

    def close(self):
        if self._server is not None:
            self._server.communicate()  # The end of its input ends it.


@contextlib.contextmanager
def command(module):
    """Makes a `Command` that ends with the context."""
    made = Command(module)
    try:
        yield made
    finally:
        made.close()


def fixture(module):
    """Returns a fixture that makes a `Command` for the tests of a file."""

    @pytest.fixture(scope="module")
    def made():
        with command(module) as each:
            yield each

    return made


def _serve(name):
    from vgg_jax.system import command_line

    module = importlib.import_module(name)
    parse = [module.parse_flags] if hasattr(module, "parse_flags") else []
    gc.freeze()  # Otherwise each copy would visit, and so copy, all objects when it ends.
    for line in sys.stdin:
        call = json.loads(line)
        process = os.fork()
        if not process:
            os.environ.clear()
            os.environ.update(call["environment"])
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            for number, stream in ((1, "stdout"), (2, "stderr")):
                file = os.open(f"{call['folder']}/{stream}", os.O_WRONLY | os.O_CREAT)
                os.dup2(file, number)
            sys.argv = [module.__file__, *call["args"]]
            command_line.run(module.main, *parse)
            return
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
