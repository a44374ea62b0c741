"""`vgg16_weights.npz`: read to the bit; refused where cut, damaged or foreign."""

import io
import zipfile

import foreign_arrays
import foreign_layers
import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign.formats import npz
from vgg_jax.foreign.layouts import vgg16_npz
from vgg_jax.foreign.net import CAFFE


def _arrays(layers):
    arrays = {}
    for name, layer in layers.items():
        kernel = layer["kernel"]
        matrix = name.startswith("fc")
        arrays[f"{name}_W"] = foreign_layers.flattened_hwc(kernel) if matrix else kernel
        arrays[f"{name}_b"] = layer["bias"]
    return arrays


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vgg16_weights.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_layers_are_read_to_the_bit(path, save, dtype):
    layers = foreign_arrays.random_params("D")
    save(path, **{name: array.astype(dtype) for name, array in _arrays(layers).items()})
    assert npz.recognises(path.read_bytes()[:65536])
    net = vgg16_npz.convert(npz.read(path))
    foreign_layers.check_equal(net, layers)
    assert not net.preprocessing.bgr
    assert net.preprocessing.mean_rgb == CAFFE.mean_rgb
    assert net.odd_edges == "floor"


def test_float16_becomes_float32(path):
    np.savez(path, a=np.float16([0.5, 3.0]))
    array = npz.read(path).read("a")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.float32([0.5, 3.0]))


def test_other_names_are_none_of_these_nets(path):
    np.savez(path, **{"features.0.weight": np.ones((4, 3, 3, 3)), "fc6_W": np.ones((3, 4))})
    assert vgg16_npz.convert(npz.read(path)) is None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_cut_anywhere_is_refused(path, save):
    save(path, **_arrays(foreign_arrays.random_params("A")))
    contents = path.read_bytes()
    for cut in {*range(1, 99), *np.linspace(99, len(contents) - 1, 50, dtype=int).tolist()}:
        path.write_bytes(contents[:cut])
        assert str(path) in foreign_layers.refusal(npz.read, path), cut


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_bytes_give_no_other_error_than_ours(path, save):
    save(path, **_arrays(foreign_arrays.random_params("A", fc=False)))
    contents = path.read_bytes()
    for damaged in foreign_layers.damaged(contents, 100):
        path.write_bytes(damaged)
        assert str(path) in foreign_layers.refusal(npz.read, path, vgg16_npz.convert)


def _npy_of_shape(shape, values):
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + np.ones(values, "<f4").tobytes()


@pytest.mark.parametrize("shape", [(1 << 40,), (3,), (1,)])
def test_a_shape_that_claims_other_values_allocates_nothing(path, shape):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", _npy_of_shape(shape, 2))
    with pytest.raises(UserError, match=r"a\.npy has other values than its shape") as caught:
        npz.read(path)
    assert str(path) in str(caught.value)


def test_pickled_objects_are_refused(path):
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(UserError, match=r"a\.npy is not an array of numbers"):
        npz.read(path)


def test_other_archives_are_not_recognised(path):
    for first in ("archive/data.pkl", "metadata.json", "config.json"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(first, b"{}")
        assert not npz.recognises(path.read_bytes())
    assert not npz.recognises(b"")


def test_a_shape_that_python_cannot_read_is_told_as_damage(tmp_path):
    path = tmp_path / "weights.npz"
    member = io.BytesIO()
    np.save(member, np.zeros((2, 3), np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kernel.npy", member.getvalue().replace(b"(2, 3)", b"(2,\x063)"))
    with pytest.raises(UserError, match="damaged"):
        npz.read(path)
