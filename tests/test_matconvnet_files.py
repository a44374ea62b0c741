"""MatConvNet's files, old and new: read to the bit; refused where cut, damaged or foreign."""

import foreign_arrays
import foreign_layers
import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign.formats import caffe, matlab
from vgg_jax.foreign.layouts import matconvnet

scipy_io = pytest.importorskip("scipy.io")

MEAN = np.float64([123.68, 116.779, 103.939])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "imagenet-vgg-verydeep-16.mat"


def _cell(items):
    """Returns MATLAB's cell array of one row."""
    cells = np.empty((1, len(items)), object)
    for index, item in enumerate(items):
        cells[0, index] = item
    return cells


def _old(name, kernel, bias):
    return {"type": "conv", "name": name, "filters": kernel, "biases": bias.reshape(1, -1)}


def _new(name, kernel, bias):
    return {"type": "conv", "name": name, "weights": _cell([kernel, bias.reshape(-1, 1)])}


def _net(layers, make=_old, others=(), pools=({},)):
    """Returns the layers' cell array. FC layers are convolutions, as in MatConvNet."""
    cells = []
    for name, layer in layers.items():
        cells.append(make(name, layer["kernel"], layer["bias"]))
        cells.append({"type": "relu", "name": f"relu_{name}"})
    pool = {"type": "pool", "name": "pool5", "method": "max", "stride": [2.0, 2.0]}
    cells += [pool | changed for changed in pools]
    return _cell([*cells, {"type": "softmax", "name": "prob"}, *others])


def _save(path, compressed=True, **variables):
    scipy_io.savemat(path, variables, do_compression=compressed)


def _whole_mean_image():
    """Returns a mean image whose mean over the pixels is MEAN."""
    image = np.zeros((224, 224, 3), np.float32) + MEAN.astype(np.float32)
    image[::2] += 5
    image[1::2] -= 5
    return image


def _save_old(path, layers, **options):
    normalization = {"averageImage": _whole_mean_image(), "imageSize": [224.0, 224.0, 3.0]}
    _save(path, layers=_net(layers), normalization=normalization, classes="x", **options)


def _save_new(path, layers, **options):
    normalization = {"imageSize": [224.0, 224.0, 3.0], "averageImage": MEAN.reshape(1, 1, 3)}
    meta = {"normalization": normalization, "classes": {"name": "x"}}
    _save(path, layers=_net(layers, _new), meta=meta, **options)


@pytest.mark.parametrize("save", [_save_old, _save_new])
@pytest.mark.parametrize("compressed", [True, False])
def test_layers_are_read_to_the_bit(path, save, compressed):
    layers = foreign_arrays.random_params("D")
    save(path, layers, compressed=compressed)
    head = path.read_bytes()[:65536]
    assert matlab.recognises(head)
    assert not caffe.recognises(head)
    net = matconvnet.convert(matlab.read(path))
    foreign_layers.check_equal(net, layers)
    assert not net.preprocessing.bgr
    assert net.preprocessing.mean_rgb == pytest.approx(tuple(MEAN), rel=1e-6)
    assert net.preprocessing.std_rgb == (1, 1, 1)
    assert net.odd_edges == "floor"


@pytest.mark.parametrize("net", ["A", "B", "C", "E"])
def test_convolutions_alone_are_read(path, net):
    layers = foreign_arrays.random_params(net, fc=False)
    _save_new(path, layers)
    foreign_layers.check_equal(matconvnet.convert(matlab.read(path)), layers)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1, 1, 3)])
def test_the_mean_may_have_three_values_in_any_direction(path, shape):
    layers = foreign_arrays.random_params("A")
    normalization = {"averageImage": MEAN.reshape(shape)}
    _save(path, layers=_net(layers), normalization=normalization)
    mean = matconvnet.convert(matlab.read(path)).preprocessing.mean_rgb
    assert mean == pytest.approx(tuple(MEAN), rel=1e-6)


def test_without_a_mean_the_preprocessing_is_unknown(path):
    _save(path, layers=_net(foreign_arrays.random_params("A")))
    assert matconvnet.convert(matlab.read(path)).preprocessing is None


def test_a_mean_of_another_shape_is_refused(path):
    _save(
        path,
        layers=_net(foreign_arrays.random_params("A")),
        normalization={"averageImage": np.ones((224, 224))},
    )
    with pytest.raises(UserError, match=r"averageImage has the shape \(224, 224\)"):
        matconvnet.convert(matlab.read(path))


@pytest.mark.parametrize(
    ("pad", "odd_edges"),
    [([0.0, 1.0, 0.0, 1.0], "ceil"), ([[0.0], [0.0], [0.0], [0.0]], "floor"), (0.0, "floor")],
)
def test_padded_pooling_is_ceil_pooling(path, pad, odd_edges):
    pools = [{"pad": pad, "pool": [2.0, 2.0]}, {"pad": pad, "pool": 2.0, "stride": 2.0}]
    _save(path, layers=_net(foreign_arrays.random_params("A"), pools=pools))
    assert matconvnet.convert(matlab.read(path)).odd_edges == odd_edges


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ([{"pad": [1.0, 0.0, 1.0, 0.0]}], r"pool5 of method max, .* padding \(1\.0, 0\.0,"),
        ([{"method": "avg"}], "pool5 of method avg"),
        ([{"pool": [3.0, 3.0]}], r"size \(3\.0, 3\.0\)"),
        ([{"stride": 1.0}], r"stride \(1\.0, 1\.0\)"),
        ([{}, {"pad": [0.0, 1.0, 0.0, 1.0]}], "poolings with padding and others without"),
    ],
)
def test_other_poolings_are_refused(path, pools, said):
    _save(path, layers=_net(foreign_arrays.random_params("A"), pools=pools))
    with pytest.raises(UserError, match=said):
        matlab.read(path)


def test_layers_of_other_kinds_are_named(path):
    others = [{"type": "lrn", "name": "norm1"}]
    _save(path, layers=_net(foreign_arrays.random_params("A"), others=others))
    with pytest.raises(UserError, match=r"16\.mat has a layer norm1 of type 'lrn'"):
        matlab.read(path)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"type": "conv", "name": "conv1_1"}, "not a net of MatConvNet's SimpleNN"),
        (
            {"type": "conv", "name": "conv1_1", "filters": "x", "biases": "y"},
            "not a net of MatConvNet's SimpleNN",
        ),
        (
            {"type": "conv", "name": "conv1_1", "weights": _cell([np.ones(3)])},
            "not a net of MatConvNet's SimpleNN",
        ),
        ({"name": "conv1_1"}, "not a net of MatConvNet's SimpleNN"),
    ],
)
def test_layers_in_another_form_are_refused(path, layer, said):
    _save(path, layers=_cell([layer]))
    with pytest.raises(UserError, match=said) as caught:
        matlab.read(path)
    assert str(path) in str(caught.value)


def test_other_matlab_files_are_refused(path):
    _save(path, params=np.ones(3))
    with pytest.raises(UserError, match=r"16\.mat has no variable `layers`"):
        matlab.read(path)
    _save(path, layers=np.ones((2, 3)))
    with pytest.raises(UserError, match=r"16\.mat has a layer without a name"):
        matlab.read(path)


def test_version_7_3_is_refused(path):
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    assert matlab.recognises(path.read_bytes())
    with pytest.raises(UserError, match=r"version 7\.3, .* Save it in MATLAB with -v7"):
        matlab.read(path)


def test_nets_with_other_layer_names_are_none_of_these(path):
    _save(path, layers=_cell([_old("conv1", np.ones((11, 11, 3, 64)), np.ones(64))]))
    assert matconvnet.convert(matlab.read(path)) is None


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_cut_anywhere_is_refused_or_has_no_mean(path, compressed):
    _save_new(path, foreign_arrays.random_params("A", fc=False), compressed=compressed)
    contents = path.read_bytes()
    for cut in {
        *range(8, 300, 3),
        128,
        *np.linspace(300, len(contents) - 1, 30, dtype=int).tolist(),
    }:
        path.write_bytes(contents[:cut])
        refusal = foreign_layers.refusal(matlab.read, path, matconvnet.convert)
        if not refusal:  # It is cut where a variable ends.
            assert matconvnet.convert(matlab.read(path)).preprocessing is None
        else:
            assert f"{path} is cut short or damaged: " in refusal, cut


@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_bytes_give_no_other_error_than_ours(path, compressed):
    _save_new(path, foreign_arrays.random_params("A", fc=False), compressed=compressed)
    contents = path.read_bytes()
    for damaged in foreign_layers.damaged(contents, 60, first=128):
        path.write_bytes(damaged)
        foreign_layers.refusal(matlab.read, path, matconvnet.convert)
