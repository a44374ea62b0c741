"""Keras's files, as h5py writes them: read to the bit; refused where cut, damaged or foreign."""

import zipfile

import foreign_arrays
import foreign_layers
import numpy as np
import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign.formats import caffe, hdf5, keras_zip, npz
from vgg_jax.foreign.layouts import flaxmodels_names, keras_names
from vgg_jax.foreign.net import CAFFE

h5py = pytest.importorskip("h5py")
keras_files = pytest.importorskip("keras_files")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vgg16.h5"


def _converted(path):
    assert hdf5.recognises(path.read_bytes()[:65536])
    tensors = hdf5.read(path)
    assert flaxmodels_names.convert(tensors) is None
    return keras_names.convert(tensors)


WEIGHT_NAMES = [
    "{name}_{letter}:0",
    "{name}_{letter}_1:0",
    "{name}/{array}:0",
    "{name}_1/{array}:0",
    "{name}/{array}",
    "sequential/{name}/{array}",
]


@pytest.mark.parametrize("weight_name", WEIGHT_NAMES)
@pytest.mark.parametrize("fc", [True, False])
def test_layers_of_applications_are_read_to_the_bit(path, weight_name, fc):
    layers = foreign_arrays.random_params("D", fc=fc)
    keras_files.write(path, keras_files.legacy, layers, weight_name)
    net = _converted(path)
    foreign_layers.check_equal(net, layers)
    assert net.preprocessing == CAFFE
    assert net.odd_edges == "floor"


def test_a_saved_model_is_read_without_its_optimiser(path):
    layers = foreign_arrays.random_params("E")
    with h5py.File(path, "w") as file:
        keras_files.legacy(file.create_group("model_weights"), layers)
        keras_files.legacy(
            file.create_group("optimizer_weights"), foreign_arrays.random_params("D", seed=9)
        )
    foreign_layers.check_equal(_converted(path), layers)


@pytest.mark.parametrize("net", ["A", "B", "B-5x5", "C", "D", "E"])
def test_layers_with_other_names_are_taken_in_order(path, net):
    layers = foreign_arrays.random_params(net)
    # The file lists groups by their characters, so conv2d_10 before conv2d_2.
    keras_files.write(path, keras_files.keras_3, layers)
    found = _converted(path)
    foreign_layers.check_equal(found, layers)
    assert found.preprocessing is None


def test_the_order_of_layers_is_the_files_own(path):
    layers = foreign_arrays.random_params("D")
    letters = {name: "zyxwvutsrqponmlkjihgfedcba"[index] for index, name in enumerate(layers)}
    keras_files.write(path, keras_files.legacy, layers, rename=letters.get)
    foreign_layers.check_equal(_converted(path), layers)


def test_a_bias_may_come_before_its_kernel(path):
    layers = foreign_arrays.random_params("D")
    keras_files.write(path, keras_files.legacy, layers)
    with h5py.File(path, "r+") as file:
        for group in file.values():
            group.attrs["weight_names"] = group.attrs["weight_names"][::-1]
    foreign_layers.check_equal(_converted(path), layers)


def test_names_that_keras_3_notes_are_used(path):
    layers = foreign_arrays.random_params("D")
    names = {name: keras_files.applications_name(name) for name in layers}
    keras_files.write(path, keras_files.keras_3, layers, noted_names=names)
    tensors = hdf5.read(path)
    assert "layers/block5_conv3/vars/1" in tensors.shapes
    net = keras_names.convert(tensors)
    foreign_layers.check_equal(net, layers)
    assert net.preprocessing == CAFFE


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"dtype": "f8"}, {"dtype": ">f4"}])
def test_compressed_and_other_floats_are_read_to_the_bit(path, options):
    layers = foreign_arrays.random_params("A", fc=False)
    with h5py.File(path, "w") as file:
        for index, (name, layer) in enumerate(layers.items()):
            for number, array in enumerate(keras_files.arrays(name, layer)):
                file.create_dataset(f"layers/conv2d_{index}/vars/{number}", data=array, **options)
    foreign_layers.check_equal(_converted(path), layers)


def test_layers_of_flaxmodels_are_read_to_the_bit(path):
    layers = foreign_arrays.random_params("D")
    with h5py.File(path, "w") as file:
        for name, layer in layers.items():
            matrix = name.startswith("fc")
            kernel = layer["kernel"]
            file[f"{name}/weight"] = foreign_layers.flattened_chw(kernel) if matrix else kernel
            file[f"{name}/bias"] = layer["bias"]
    tensors = hdf5.read(path)
    assert keras_names.convert(tensors) is None
    net = flaxmodels_names.convert(tensors)
    foreign_layers.check_equal(net, layers)
    assert not net.preprocessing.bgr
    assert net.preprocessing.std_rgb == pytest.approx((58.395, 57.12, 57.375))


def _zipped(path, layers, compression=zipfile.ZIP_STORED):
    weights = path.with_name("model.weights.h5")
    keras_files.write(weights, keras_files.keras_3, layers)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.write(weights, "model.weights.h5")


def test_a_keras_archive_is_read_to_the_bit(tmp_path):
    path = tmp_path / "vgg16.keras"
    layers = foreign_arrays.random_params("D")
    _zipped(path, layers)
    head = path.read_bytes()[:65536]
    assert keras_zip.recognises(head)
    assert not npz.recognises(head)
    assert not caffe.recognises(head)
    foreign_layers.check_equal(keras_names.convert(keras_zip.read(path)), layers)


def test_a_changed_byte_in_a_keras_archive_is_found(tmp_path):
    path = tmp_path / "vgg16.keras"
    _zipped(path, foreign_arrays.random_params("A"))
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    with pytest.raises(UserError, match="damaged: Bad CRC-32"):
        keras_zip.read(path)


def test_a_compressed_keras_archive_is_refused(tmp_path):
    path = tmp_path / "vgg16.keras"
    _zipped(path, foreign_arrays.random_params("A"), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"vgg16.keras is compressed, .* give its model.weights.h5"):
        keras_zip.read(path)


def test_a_keras_archive_without_weights_is_refused(tmp_path):
    path = tmp_path / "vgg16.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(UserError, match=r"vgg16.keras is .*model\.weights\.h5"):
        keras_zip.read(path)


@pytest.fixture(params=["legacy", "keras_3", "zipped"])
def any_file(request, tmp_path):
    """Returns a file's reader, its path and its contents."""
    path = tmp_path / "net"
    layers = foreign_arrays.random_params("A", fc=False)
    if request.param == "zipped":
        _zipped(path, layers)
        return keras_zip.read, path, path.read_bytes()
    keras_files.write(path, getattr(keras_files, request.param), layers)
    return hdf5.read, path, path.read_bytes()


def test_a_file_cut_anywhere_is_refused(any_file):
    read, path, contents = any_file
    for cut in {*range(8, 99), *np.linspace(99, len(contents) - 1, 60, dtype=int).tolist()}:
        path.write_bytes(contents[:cut])
        refusal = foreign_layers.refusal(read, path)
        assert f"{path} is cut short or damaged: " in refusal, cut


def test_damaged_bytes_give_no_other_error_than_ours(any_file):
    read, path, contents = any_file
    for damaged in foreign_layers.damaged(contents, 75):
        path.write_bytes(damaged)
        foreign_layers.refusal(read, path, keras_names.convert)


def test_a_shape_that_claims_too_much_allocates_nothing(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("conv1_1/kernel", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(8, 8))
    with pytest.raises(UserError, match="conv1_1/kernel has fewer values than its shape"):
        hdf5.read(path)


def test_values_in_other_files_are_refused(path):
    (path.parent / "secret").write_bytes(bytes(16))
    with h5py.File(path, "w") as file:
        file.create_dataset("a/kernel", (4,), "f4", external=[(path.parent / "secret", 0, 16)])
    with pytest.raises(UserError, match="has the values of a/kernel in another file"):
        hdf5.read(path)


def test_links_to_other_files_are_not_followed(path):
    other = path.with_name("other.h5")
    keras_files.write(other, keras_files.legacy, foreign_arrays.random_params("D"))
    with h5py.File(path, "w") as file:
        file["block1_conv1"] = h5py.ExternalLink(other, "block1_conv1")
    assert not hdf5.read(path).shapes


def test_a_missing_package_is_named(path, monkeypatch):
    from vgg_jax.foreign import optional_package

    monkeypatch.setattr(optional_package.importlib.util, "find_spec", lambda name: None)
    for read in (hdf5.read, keras_zip.read):
        with pytest.raises(UserError, match=r"only with h5py, .*pip install -e '\.\[weights\]'"):
            read(path)


def _refusal(path, layers, **options):
    keras_files.write(path, keras_files.legacy, layers, **options)
    with pytest.raises(UserError) as caught:
        keras_names.convert(hdf5.read(path))
    return str(caught.value)


def test_batch_norm_is_named(path):
    layers = foreign_arrays.random_params("D")
    keras_files.write(path, keras_files.legacy, layers)
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"]
        file["bn_conv1/bn_conv1/gamma:0"] = np.ones(4)
    with pytest.raises(UserError, match="don't have: bn_conv1/bn_conv1/gamma:0"):
        keras_names.convert(hdf5.read(path))


def test_another_number_of_convolutions_is_refused(path):
    layers = foreign_arrays.random_params("D")
    del layers["conv5_3"]
    refusal = _refusal(path, layers, rename=lambda name: f"my_{name}")
    assert "have 12 convolutions (my_conv1_1/my_conv1_1, " in refusal
    assert "has 5, 8, 10, 13, 16." in refusal


def test_a_model_of_two_nets_is_refused(path):
    layers = foreign_arrays.random_params("D", fc=False)
    with h5py.File(path, "w") as file:
        for net in ("vgg16", "other"):
            keras_files.legacy(file.create_group(net), layers)
    with pytest.raises(UserError, match="have 26 convolutions"):
        keras_names.convert(hdf5.read(path))


def test_another_number_of_fc_layers_is_refused(path):
    layers = foreign_arrays.random_params("D")
    del layers["fc7"]
    refusal = _refusal(path, layers)
    assert "have 2 FC layers (fc1/fc1, predictions/predictions)" in refusal
    assert "include_top=False" in refusal


def test_channels_that_do_not_chain_are_named(path):
    layers = foreign_arrays.random_params("D")
    layers["conv2_1"]["kernel"] = layers["conv2_1"]["kernel"][:, :, 1:]
    assert "conv2_1 can't be a layer" in _refusal(path, layers)


def test_a_missing_bias_is_named(path):
    layers = foreign_arrays.random_params("D")
    keras_files.write(path, keras_files.legacy, layers)
    with h5py.File(path, "a") as file:
        del file["block3_conv1/block3_conv1/bias:0"]
    with pytest.raises(UserError, match="conv3_1 has no array block3_conv1/block3_conv1/bias"):
        keras_names.convert(hdf5.read(path))
