"""Exported StableHLO programs, which run without this package."""

import exported_nets
import numpy as np
import pytest
import small_runs

from vgg_jax.export import exporting
from vgg_jax.export.options import Options

pytest.importorskip("flatbuffers")

# -I leaves out the current folder and PYTHONPATH.
RUN = """
import pathlib, sys, jax, numpy as np
folder = pathlib.Path(sys.argv[1])
images = np.load(folder / "images.npz")
for path in folder.glob("*.stablehlo"):
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    sizes = [name for name in images.files if name.startswith(f"{path.stem} ")]
    found = {name: program.call(images[name]) for name in sizes}
    np.savez(path.with_suffix(".npz"), **found)
assert not any(name.split(".")[0] in ("vgg_jax", "flax") for name in sys.modules)
"""


NETS = (("A-LRN", "floor", "map"), ("A", "ceil", "map"), ("C", "floor", "probabilities"))
ODD = (2, 97, 131)
SIZES = {"A-LRN": [ODD], "A": [(1, 64, 64), ODD, (3, 65, 95)], "C": [ODD]}


def test_a_process_that_imports_only_jax_computes_the_same(tmp_path):
    nets = {name: exported_nets.trained(name, pooling=pooling) for name, pooling, _ in NETS}
    for name, _, output in NETS:
        exporting.writer(tmp_path / f"{name}.stablehlo", Options(output=output)).write(nets[name])
    images = {f"{n} {size}": exported_nets.photos(*size) for n in SIZES for size in SIZES[n]}
    np.savez(tmp_path / "images.npz", **images)
    done = small_runs.run_python("-I", "-c", RUN, tmp_path)
    assert done.returncode == 0, done.stderr
    for name, _, output in NETS:
        feature = {"map": "fc8", "probabilities": "prob"}[output]
        with np.load(tmp_path / f"{name}.npz") as found:
            assert len(found.files) == len(SIZES[name])
            for key in found.files:
                expected = np.asarray(nets[name].features(images[key], [feature])[feature])
                assert exported_nets.relative_difference(found[key], expected) < 1e-5
