"""`.caffemodel` files: read to the bit in every encoding; refused where cut, damaged or foreign."""

import caffe_files
import foreign_arrays
import foreign_layers
import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign.formats import caffe
from vgg_jax.foreign.layouts import caffe_names
from vgg_jax.foreign.net import CAFFE


def _read(path, contents):
    path.write_bytes(contents)
    return caffe.read(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.caffemodel"


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_layers_are_read_to_the_bit(path, old, packed, double):
    layers = foreign_arrays.random_params("D")
    contents = caffe_files.model(layers, old=old, packed=packed, double=double)
    assert caffe.recognises(contents[:65536])
    net = caffe_names.convert(_read(path, contents))
    foreign_layers.check_equal(net, layers)
    assert net.preprocessing == CAFFE
    assert net.odd_edges == "ceil"


@pytest.mark.parametrize("net", ["A", "B", "C", "E"])
def test_every_net_and_convolutions_alone_are_read(path, net):
    layers = foreign_arrays.random_params(net, fc=False)
    foreign_layers.check_equal(caffe_names.convert(_read(path, caffe_files.model(layers))), layers)


def test_fc_layers_may_be_convolutions(path):
    layers = foreign_arrays.random_params("D")
    contents = b"".join(
        caffe_files.new_layer(
            name,
            [
                caffe_files.new_blob(layer["kernel"].transpose(3, 2, 0, 1)),
                caffe_files.new_blob(layer["bias"]),
            ],
        )
        for name, layer in layers.items()
    )
    foreign_layers.check_equal(caffe_names.convert(_read(path, contents)), layers)


def test_arrays_are_named_by_layer_and_index_and_values_may_come_in_parts(path):
    parts = caffe_files.floats([1.5, 2.5]) + caffe_files.floats([3.5], packed=False)
    shape = caffe_files.message(7, caffe_files.number(1, 3))
    tensors = _read(path, caffe_files.new_layer("conv1_1", [parts + shape]))
    assert dict(tensors.shapes) == {"conv1_1/0": (3,)}
    np.testing.assert_array_equal(tensors.read("conv1_1/0"), np.float32([1.5, 2.5, 3.5]))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_anywhere_is_refused_or_lacks_whole_layers(path, old, packed):
    layers = foreign_arrays.random_params("A", width=1 / 64)
    contents = caffe_files.model(layers, old=old, packed=packed)
    cuts = {*range(1, 200), *np.linspace(200, len(contents) - 1, 100, dtype=int).tolist()}
    whole = 0
    for cut in cuts:
        path.write_bytes(contents[:cut])
        refusal = foreign_layers.refusal(caffe.read, path)
        assert str(path) in refusal or not refusal
        whole += not refusal
    assert whole < len(cuts) / 20


def test_a_file_that_becomes_shorter_is_refused_when_it_is_read(path):
    layers = foreign_arrays.random_params("D")
    contents = caffe_files.model(layers)
    tensors = _read(path, contents)
    path.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(UserError, match="fc8/0 ends early"):
        tensors.read("fc8/0")


def test_damaged_bytes_give_no_other_error_than_ours(path):
    # In a net as narrow as this more of the bytes are of the file's structure.
    params = foreign_arrays.random_params("A", width=1 / 64, fc=False)
    for damaged in foreign_layers.damaged(caffe_files.model(params), 150):
        path.write_bytes(damaged)
        foreign_layers.refusal(caffe.read, path, caffe_names.convert)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (caffe_files.message(1, "net"), "has no weights"),
        (caffe_files.new_layer("data", []), "has no weights"),
        (caffe_files.message(100, caffe_files.message(7, b"\x2a\xff\xff\xff\xff\x0f")), "should"),
        (caffe_files.new_layer("a", [caffe_files.floats([2, 3])]), r"a/0 has 2 values, .* \(\)"),
        (caffe_files.new_layer("a", [caffe_files.message(5, b"123")]), "ends within a value"),
        (caffe_files.new_layer("a" * 2000, [b""]), "a name or a shape has 2,000 bytes"),
        (2 * caffe_files.new_layer("a", [caffe_files.old_blob(np.ones(2))]), "has a/0 twice"),
        (b"\x13\x00", "no field at byte 0"),
        (b"\x00", "no field at byte 0"),
        (b"\xff" * 11, "too many digits"),
    ],
)
def test_what_is_wrong_is_said(path, contents, said):
    with pytest.raises(UserError, match=said) as caught:
        _read(path, contents)
    assert str(path) in str(caught.value)


def test_a_shape_that_claims_too_much_allocates_nothing(path):
    dims = caffe_files.message(7, caffe_files.message(1, b"\xff\xff\xff\xff\x7f\xff\xff\xff\x7f"))
    with pytest.raises(UserError, match="has 1 values"):
        _read(path, caffe_files.new_layer("a", [caffe_files.floats([2]) + dims]))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"\nSome text that begins with an empty line, and goes on for a while.\n" * 9,
        b"\x89HDF\r\n\x1a\n" + bytes(99),
        b"PK\x03\x04" + bytes(99),
        b"MATLAB 5.0 MAT-file",
        caffe_files.message(1, "a") * 9,
        caffe_files.message(1, "a") + caffe_files.number(2, 3),
        caffe_files.number(1, 8) + caffe_files.message(2, "pytorch"),  # ONNX
    ],
)
def test_other_files_are_not_recognised(head):
    assert not caffe.recognises(head)


@pytest.fixture
def layers():
    return foreign_arrays.random_params("D")


def _refusal(path, layers):
    with pytest.raises(UserError) as caught:
        caffe_names.convert(_read(path, caffe_files.model(layers)))
    return str(caught.value)


def test_a_missing_fc_layer_is_named(path, layers):
    del layers["fc8"]
    assert "conv5_3, fc6, fc7. A net needs" in _refusal(path, layers)


def test_channels_that_do_not_chain_are_named(path, layers):
    del layers["conv3_1"]
    refusal = _refusal(path, layers)
    assert "conv3_2 can't be a layer" in refusal
    assert "8 inputs" in refusal


def test_fc6_must_take_a_square_of_cells(path, layers):
    layers["fc6"]["kernel"] = layers["fc6"]["kernel"][:, :1]
    assert "fc6 can't be a layer" in _refusal(path, layers)


def test_fc7_must_take_one_cell(path, layers):
    layers["fc7"]["kernel"] = np.repeat(layers["fc7"]["kernel"], 4, 2)
    assert "fc7 can't be a layer" in _refusal(path, layers)


def test_a_bias_of_another_length_is_named(path, layers):
    layers["conv2_1"]["bias"] = layers["conv2_1"]["bias"][1:]
    refusal = _refusal(path, layers)
    assert "conv2_1/1 has the shape (7,), where a bias of 8 values is expected" in refusal


def test_a_kernel_that_is_not_square_is_named(path, layers):
    layers["conv2_1"]["kernel"] = layers["conv2_1"]["kernel"][1:]
    assert "conv2_1/0 has the shape (8, 4, 2, 3)" in _refusal(path, layers)


def test_other_layers_are_named(path, layers):
    layers["rpn_conv"] = layers["conv5_3"]
    assert "don't have: rpn_conv/0, rpn_conv/1" in _refusal(path, layers)


def _one_array_each(name, array):
    return caffe_files.new_layer(name, [caffe_files.new_blob(array)])


def test_a_missing_bias_is_named(path):
    tensors = _read(path, _one_array_each("conv1_1", np.ones((4, 3, 3, 3))))
    with pytest.raises(UserError, match="conv1_1 has no array conv1_1/1"):
        caffe_names.convert(tensors)


def test_a_kernel_of_another_dimension_is_named(path):
    contents = caffe_files.new_layer(
        "conv1_1", [caffe_files.new_blob(np.ones(shape)) for shape in ((4, 27), (4,))]
    )
    with pytest.raises(UserError, match=r"\(4, 27\), where a 4-d kernel is expected"):
        caffe_names.convert(_read(path, contents))


def test_alexnet_is_none_of_these_nets(path):
    alexnet = {"conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "fc6": (4, 9)}
    contents = b"".join(
        caffe_files.new_layer(name, [caffe_files.new_blob(np.ones(shape))])
        for name, shape in alexnet.items()
    )
    assert caffe.recognises(contents)
    assert caffe_names.convert(_read(path, contents)) is None
