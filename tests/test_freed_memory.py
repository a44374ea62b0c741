"""Commands keep the memory that they free: new arrays then fault no pages in."""

import os
import subprocess
import sys

import pytest

# Counts the pages that a large array faults in, in a thread, after another one was freed.
_MEASURE = """
import resource, threading
from vgg_jax.system import command_line

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**25)  # NumPy asks for huge pages, of which few are faulted in.
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def main(argv):
    found = []
    thread = threading.Thread(target=lambda: found.extend([faults(), faults()]))
    thread.start()
    thread.join()
    print(found[-1])

command_line.run(main)
"""
_PAGES = 2**25 // os.sysconf("SC_PAGE_SIZE")
_OWN_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_")


def _faults(**environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_OWN_SETTINGS)}
    result = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout)


@pytest.mark.skipif("glibc" not in os.confstr("CS_GNU_LIBC_VERSION"), reason="not glibc")
def test_a_command_keeps_freed_memory():
    assert _faults() < _PAGES / 10


def test_an_environment_with_settings_of_its_own_stays_as_it_is():
    assert _faults(MALLOC_MMAP_THRESHOLD_=str(2**20)) > _PAGES * 0.9
