"""MAT-files of version 5: what SciPy writes, and the other byte order."""

import struct

import numpy as np
import pytest

from vgg_jax.foreign import mat5

scipy_io = pytest.importorskip("scipy.io")

VALUES = {
    "double": np.arange(24.0).reshape(2, 3, 4) + 0.5,
    "single": np.float32([[1.5, 2.5]]),
    "small": np.uint8([[7]]),
    "signed": np.int64([[-(2**40), 5]]),
    "empty": np.zeros((0, 0)),
}


@pytest.mark.parametrize("compressed", [True, False])
def test_values_are_read_as_scipy_writes_them(tmp_path, compressed):
    path = tmp_path / "a.mat"
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = VALUES["double"], "text"
    written = {**VALUES, "text": "Größe", "cells": cells, "unwanted": np.ones(5), "one": {"a": "b"}}
    written["nested"] = {"inner": {"x": VALUES["single"], "name": "y"}}
    written["complex"] = np.array([1 + 2j])
    scipy_io.savemat(path, written, do_compression=compressed)
    names = [name for name in written if name != "unwanted"]
    found = mat5.read_variables(path, [*names, "absent"])
    assert list(found) == names
    for name, value in VALUES.items():
        np.testing.assert_array_equal(found[name], value)
    assert found["text"] == "Größe"
    np.testing.assert_array_equal(found["cells"][0], VALUES["double"])
    assert found["cells"][1] == "text"
    np.testing.assert_array_equal(found["nested"]["inner"]["x"], VALUES["single"])
    assert found["nested"]["inner"]["name"] == "y"
    assert found["one"] == {"a": "b"}
    assert found["complex"] is None


def _element(kind, data):
    return struct.pack(">2I", kind, len(data)) + data + bytes(-len(data) % 8)


def _array(dims, *elements):
    about = _element(6, struct.pack(">2I", 6, 0)), _element(5, struct.pack(f">{len(dims)}i", *dims))
    return _element(14, b"".join([*about, _element(1, b"x"), *elements]))


def _write(path, *variables):
    path.write_bytes(b"MATLAB 5.0".ljust(126) + b"MI" + b"".join(variables))


def test_the_other_byte_order_is_read(tmp_path):
    path = tmp_path / "a.mat"
    _write(path, _array((1, 3), _element(9, struct.pack(">3d", 1.5, 2.5, 3.5))))
    np.testing.assert_array_equal(mat5.read_variables(path, "x")["x"], [[1.5, 2.5, 3.5]])


def test_objects_are_passed_over(tmp_path):
    path = tmp_path / "a.mat"
    flags = _element(6, struct.pack(">2I", 17, 0))
    an_object = _element(14, flags + _element(1, b"y" * 50) + _element(1, b"MCOS"))
    _write(path, an_object, _array((1, 1), _element(2, b"\x07")))
    np.testing.assert_array_equal(mat5.read_variables(path, ("x", "y"))["x"], [[7]])


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        (_array((1, 3), _element(9, bytes(16))), "has 2 values, not its shape"),
        (_array((1 << 30, 1 << 30), _element(9, bytes(16))), "has 2 values, not its shape"),
        (_array([1] * 40, _element(9, bytes(8))), "the head of an array"),
        (_array((1, -3), _element(9, bytes(24))), "x has the shape"),
        (_array((1, 2), _element(9, bytes(12))), "ends within a value"),
        (_array((1, 2), _element(14, bytes(8))), "no numbers of type 14"),
        (_element(9, bytes(8)), "no array where one should be"),
        (struct.pack(">2I", 14, 1 << 31), "ends within an array"),
        (struct.pack(">2I", 15, 8) + bytes(8), "unknown compression method"),
        (b"\0\0\0", "ends within a variable"),
        (b"", "no variables"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, variable, said):
    _write(tmp_path / "a.mat", variable)
    with pytest.raises(mat5.MatError, match=said):
        mat5.read_variables(tmp_path / "a.mat", "x")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB " + bytes(200))
    with pytest.raises(mat5.MatError, match="no header of version 5"):
        mat5.read_variables(tmp_path / "a.mat", "x")
