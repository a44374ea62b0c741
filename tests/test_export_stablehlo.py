"""Exported StableHLO programs, which run without this package."""

import exported_nets
import numpy as np
import pytest
import small_runs

from vgg_jax.export import exporting
from vgg_jax.export.options import Options

pytest.importorskip("flatbuffers")

SIZES = ((1, 64, 64), (2, 97, 131), (3, 65, 95))

# -I leaves out the current folder and PYTHONPATH.
RUN = """
import sys, jax, numpy as np
program = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: program.call(images[name]) for name in images.files})
assert not any(name.split(".")[0] in ("vgg_jax", "flax") for name in sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "pooling", "output"),
    [("A-LRN", "floor", "map"), ("A", "ceil", "map"), ("C", "floor", "probabilities")],
)
def test_a_process_that_imports_only_jax_computes_the_same(tmp_path, name, pooling, output):
    net = exported_nets.trained(name, pooling=pooling)
    path = tmp_path / "net.stablehlo"
    exporting.writer(path, Options(output=output)).write(net)
    images = {str(size): exported_nets.photos(*size) for size in SIZES}
    np.savez(tmp_path / "images.npz", **images)
    done = small_runs.run_python(
        *("-I", "-c", RUN, path, tmp_path / "images.npz", tmp_path / "found.npz")
    )
    assert done.returncode == 0, done.stderr
    feature = {"map": "fc8", "probabilities": "prob"}[output]
    with np.load(tmp_path / "found.npz") as found:
        for size, given in images.items():
            expected = np.asarray(net.features(given, [feature])[feature])
            assert exported_nets.relative_difference(found[size], expected) < 1e-5
