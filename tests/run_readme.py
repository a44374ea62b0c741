"""Runs the code blocks of READMEs: `python tests/run_readme.py [--here] [README.md ...]`.

The blocks of a file run in order, in a copy of the tracked files, with the quickstart's run and a
folder my_images in place of the reader's own images. A block with a comment on the line above it,
such as <!-- needs a GPU -->, is skipped and listed. Python blocks go on where those above them end.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>sh|python)\n(?P<code>.*?)^```$", re.M | re.S
)
QUICKSTART = "python -m vgg_jax.main --config=configs/quickstart.py"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("readmes", nargs="*", default=["README.md"])
    parser.add_argument("--here", action="store_true", help="run in this folder, not in a copy")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path.cwd() if given.here else copy_tracked(pathlib.Path(folder))
        make_images(folder / "my_images")
        if not (folder / "runs/quickstart/result.json").exists():
            run(["bash", "-c", QUICKSTART], folder)
        for readme in given.readmes:
            run_blocks(readme, folder)


def run_blocks(readme, folder):
    """Runs the blocks of a README, and lists those that ran and those that were skipped."""
    text, python, report = (folder / readme).read_text(), "", []
    for block in BLOCK.finditer(text):
        place = f"{readme}:{text.count(chr(10), 0, block.start('language')) + 1}"
        if block["mark"]:
            report.append(f"{place} was skipped: {block['mark']}")
            continue
        print(f"\n{place}\n{block['code']}", flush=True)
        start = time.perf_counter()
        if block["language"] == "python":
            python += block["code"]
            run([sys.executable, "-c", python], folder)
        else:
            run(["bash", "-euo", "pipefail", "-c", block["code"]], folder)
        report.append(f"{place} took {time.perf_counter() - start:.1f} s")
    print("", *report, sep="\n", flush=True)


def run(command, folder):
    """Runs a command with this Python first on the path; ends this process if it fails."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    status = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}).returncode
    if status:
        sys.exit(f"This ended with status {status}: {command[-1]}")


def copy_tracked(folder):
    """Copies the tracked files of this checkout into a folder, and returns it."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for name in names.split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def make_images(folder):
    """Draws noisy images of one colour per class, 48 to train on and 12 to validate on."""
    rng = np.random.default_rng(0)
    colours = {"apple": (200, 40, 40), "banana": (230, 210, 60), "plum": (90, 40, 130)}
    for split, count in (("train", 16), ("val", 4)):
        for name, colour in colours.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                height, width = rng.integers(80, 160, 2)
                pixels = rng.normal(colour, 30, (height, width, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.jpg")


if __name__ == "__main__":
    main()
