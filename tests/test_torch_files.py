"""PyTorch's two formats, read without PyTorch, from files that are written here by hand."""

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import weight_files
from weight_files import Call, Global, Ordered, Persistent, TorchFile, parameter, tensor

from vgg_jax.errors import UserError
from vgg_jax.foreign.formats import torch_legacy, torch_zip
from vgg_jax.foreign.pytorch import objects

FORMATS = {
    "zip": (torch_zip, weight_files.write_torch_zip),
    "legacy": (torch_legacy, weight_files.write_torch_legacy),
}
FLOATS = {"float64": np.float64, "float32": np.float32, "float16": np.float16}
DTYPES = {**FLOATS, "bfloat16": jnp.bfloat16}


@pytest.fixture(params=FORMATS)
def torch_format(request):
    return FORMATS[request.param]


@contextlib.contextmanager
def _little_memory():
    """Fails if more than a pickle's head is allocated within."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < objects.PICKLE_BYTES + 2e6
    finally:
        tracemalloc.stop()


def _random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _read(form, path):
    """Reads all arrays of a file, as its format does."""
    tensors = form.read(path)
    return {name: tensors.read(name) for name in tensors.shapes}


def _written(torch_format, path, file, **options):
    form, write = torch_format
    return _read(form, write(path, file, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_float_dtype_becomes_float32_to_the_bit(torch_format, tmp_path, dtype):
    values = _random(3, 5, 2, dtype=DTYPES[dtype])
    read = _written(torch_format, tmp_path / "w.pth", weight_files.torch_state({"w": values}))
    assert read["w"].dtype == np.float32
    np.testing.assert_array_equal(read["w"], values.astype(np.float32), strict=True)


def test_names_shapes_and_order_are_the_files(torch_format, tmp_path):
    form, write = torch_format
    arrays = {"b.weight": _random(2, 3), "a.bias": _random(4), "n": np.array(7), "e": _random(0, 3)}
    path = write(tmp_path / "w.pth", weight_files.torch_state(arrays))
    tensors = form.read(path)
    assert list(tensors.shapes.items()) == [(name, a.shape) for name, a in arrays.items()]
    for name, array in arrays.items():
        np.testing.assert_array_equal(tensors.read(name), array, strict=True)


def test_a_file_is_recognised_by_its_format_alone(tmp_path):
    heads = {}
    for name, (_, write) in FORMATS.items():
        path = write(tmp_path / name, weight_files.torch_state({"w": _random(2)}))
        heads[name] = path.read_bytes()[:65536]
    np.savez(tmp_path / "w.npz", w=_random(2))
    heads["npz"] = (tmp_path / "w.npz").read_bytes()
    heads["pickle"] = pickle.dumps({"w": 1})
    heads[""] = b""
    for name, (form, _) in FORMATS.items():
        assert [head for head in heads if form.recognises(heads[head])] == [name]


@pytest.mark.parametrize("keys", [("state_dict",), ("model",), ("model", "state_dict")])
def test_a_state_dict_lies_within_a_checkpoint(torch_format, tmp_path, keys):
    file = weight_files.torch_state({"w": _random(2, 3), "b": _random(2, seed=1)})
    momentum = tensor("m", _random(9))
    nested = TorchFile(file.value, {"m": _random(9), **file.storages})
    for key in reversed(keys):
        nested.value = {"epoch": 3, "momentum": momentum, key: nested.value, "best": None}
    nested.value["optimizer"] = {"model": {"x": momentum}}
    read = _written(torch_format, tmp_path / "w.pth", nested)
    assert [*read] == ["w", "b"]
    np.testing.assert_array_equal(read["b"], _random(2, seed=1))


def test_parameters_an_ordered_dict_and_its_metadata(torch_format, tmp_path):
    values = _random(2, 3)
    state = {"_metadata": Ordered({"": {"version": 1}}, {})}
    value = Ordered({"w": parameter(tensor("0", values))}, state)
    read = _written(torch_format, tmp_path / "w.pth", TorchFile(value, {"0": values}))
    np.testing.assert_array_equal(read["w"], values)


def test_an_ordered_dict_and_strings_of_python_2(torch_format, tmp_path, monkeypatch):
    values = _random(2, 3)
    items = [["w", tensor("0", values)], ["v", tensor("0", values)]]
    value = Call("collections OrderedDict", (items,))
    opcodes = weight_files.pickled

    def of_python_2(value):  # Its short strings have one byte of length.
        return opcodes(value).replace(b"X\x01\x00\x00\x00", b"U\x01")

    monkeypatch.setattr(weight_files, "pickled", of_python_2)
    read = _written(torch_format, tmp_path / "w.pth", TorchFile(value, {"0": values}))
    assert [*read] == ["w", "v"]
    np.testing.assert_array_equal(read["v"], values)


def test_tensors_are_parts_of_storages_in_any_order(torch_format, tmp_path):
    whole = _random(60)
    value = {
        "transposed": tensor("0", whole, shape=(5, 4, 3), strides=(1, 5, 20)),
        "part": tensor("0", whole, shape=(2, 3), offset=7),
        "column": tensor("0", whole, shape=(6,), strides=(10,), offset=9),
        "one": tensor("0", whole, shape=(1,), strides=(1000,), offset=59),
        "view": tensor("0", whole, shape=(3,), offset=2, view=("v", 50, 10)),
    }
    read = _written(torch_format, tmp_path / "w.pth", TorchFile(value, {"0": whole}))
    expected = {
        "transposed": whole.reshape(3, 4, 5).T,
        "part": whole[7:13].reshape(2, 3),
        "column": whole[9::10],
        "one": whole[59:],
        "view": whole[52:55],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(read[name], values, strict=True)
        assert read[name].flags.c_contiguous


def test_untyped_storages_and_newer_rebuilding(torch_format, tmp_path):
    values = _random(2, 3)
    raw = values.view(np.uint8).reshape(-1)
    untyped = Persistent(
        ("storage", Global("torch.storage UntypedStorage"), "0", "cpu", raw.size, None)
    )
    arguments = (untyped, 0, (2, 3), (3, 1), False, {}, Global("torch float32"))
    value = {"w": Call("torch._utils _rebuild_tensor_v3", arguments)}
    read = _written(torch_format, tmp_path / "w.pth", TorchFile(value, {"0": raw}))
    np.testing.assert_array_equal(read["w"], values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zip_may_be_big_endian_or_say_nothing(tmp_path, dtype):
    values = _random(2, 3, dtype=DTYPES[dtype])
    for order in ("big", ""):
        file = weight_files.torch_state({"w": values})
        read = _written(FORMATS["zip"], tmp_path / "w.pth", file, byteorder=order, top="vgg")
        np.testing.assert_array_equal(read["w"], values.astype(np.float32), strict=True)


def test_a_zip_may_have_no_checksums(tmp_path):
    file = weight_files.torch_state({"w": _random(2, 3)})
    read = _written(FORMATS["zip"], tmp_path / "w.pth", file, checksums=False)
    np.testing.assert_array_equal(read["w"], _random(2, 3))


def test_arrays_are_read_one_at_a_time(torch_format, tmp_path):
    form, write = torch_format
    arrays = {f"w{index}": _random(1 << 20, seed=index) for index in range(4)}
    path = write(tmp_path / "w.pth", weight_files.torch_state(arrays))
    with _little_memory():
        tensors = form.read(path)
        for name in tensors.shapes:
            tensors.read(name)


@pytest.mark.parametrize(
    "name",
    ["os system", "builtins eval", "builtins getattr", "argparse Namespace", "torch.nn Linear"],
)
def test_a_pickle_that_could_run_code_is_refused_by_name(torch_format, tmp_path, name):
    file = TorchFile({"w": Call(name, (f"touch {tmp_path}/ran",))}, {})
    with pytest.raises(UserError, match="could run any code") as error:
        _written(torch_format, tmp_path / "w.pth", file)
    assert name.replace(" ", ".") in str(error.value)
    assert str(tmp_path / "w.pth") in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code_in_python_does_not_here(tmp_path, protocol):
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Hostile()}, protocol))
    with pytest.raises(UserError, match=r"posix.mkdir, which could run any code|opcode DICT"):
        torch_zip.read(path)
    assert not ran.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data_of_every_protocol_is_read(tmp_path, protocol):
    data = {
        "a": [1, -2, 2**70, "é" * 300, b"x", 1.5, None, True],
        "b": ((), (1,), (1, 2, 3, 4)),
        3: {},
    }
    pickled = io.BytesIO(pickle.dumps(data, protocol))
    if protocol == 2:
        del data["a"][4]  # Protocol 2 has no bytes.
        pickled = io.BytesIO(pickle.dumps(data, 2))
    assert objects.load(tmp_path, pickled).value == data


def _file_with_everything():
    whole = _random(40)
    halves = _random(6, seed=1, dtype=np.float16)
    state = {
        "features.0.weight": parameter(tensor("0", whole, shape=(2, 5), offset=3)),
        "half": tensor("1", halves),
    }
    return TorchFile({"state_dict": Ordered(state, {"_metadata": {}})}, {"0": whole, "1": halves})


def test_a_file_cut_short_anywhere_is_refused(torch_format, tmp_path):
    form, write = torch_format
    content = write(tmp_path / "whole.pth", _file_with_everything()).read_bytes()
    path = tmp_path / "cut.pth"
    for length in [*range(0, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"is cut short or damaged: .* again") as error:
            _read(form, path)
        assert str(path) in str(error.value)


def test_a_file_with_a_hole_is_refused(torch_format, tmp_path):
    form, write = torch_format
    content = write(tmp_path / "whole.pth", _file_with_everything()).read_bytes()
    path = tmp_path / "hole.pth"
    for start in range(0, len(content) - 8, 31):
        path.write_bytes(content[:start] + content[start + 8 :])
        with pytest.raises(UserError, match=r"is cut short or damaged|is refused"):
            _read(form, path)


def test_bytes_that_flip_give_one_clear_error_or_another_value(torch_format, tmp_path):
    form, write = torch_format
    content = write(tmp_path / "whole.pth", _file_with_everything()).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.pth"
    refused = 0
    for _ in range(400):
        flipped = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            flipped[place] = rng.integers(256)
        path.write_bytes(flipped)
        try:
            _read(form, path)
        except UserError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017
    assert refused > 100


def test_a_flipped_bit_of_an_array_is_found_in_a_zip(tmp_path):
    values = _random(100)
    path = weight_files.write_torch_zip(tmp_path / "w.pth", weight_files.torch_state({"w": values}))
    content = bytearray(path.read_bytes())
    content[content.index(values.tobytes()) + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="the checksum of w doesn't match"):
        _read(torch_zip, path)


BIG = 2**40


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor("0", np.zeros(4, np.float32), shape=(BIG, BIG)), "stored for it"),
        (tensor("0", np.zeros(4, np.float32), shape=(BIG,), strides=(0,)), "more values"),
        (tensor("0", np.zeros(4, np.float32), shape=(4,), offset=BIG), "goes beyond"),
        (tensor("0", np.zeros(4, np.float32), shape=(4,), offset=1), "goes beyond"),
        (tensor("0", np.zeros(4, np.float32), shape=(4,), strides=(-1,)), "impossible size"),
        (tensor("0", np.zeros(4, np.float32), shape=(2**700,)), "impossible size"),
        (tensor("0", np.zeros(4, np.float32), shape=(2, 2), strides=(1,)), "2 axes and 1 strides"),
        (tensor("0", np.zeros(4, np.float32), shape=(1,) * 40), "40 axes"),
        (tensor("0", np.zeros(4, np.float32), view=("v", 2, 3)), "view beyond its storage"),
        (tensor("1", np.zeros(4, np.float32)), "storage|no archive/data/1|missing"),
        (tensor("0", np.zeros(5, np.float32)), "16 bytes instead of the 20"),
        (Call("torch._utils _rebuild_tensor_v2", ()), "makes no sense"),
        (Call("torch._utils _rebuild_tensor_v2", ("0", 0, (1,), (1,))), "without a storage"),
        (parameter(1), "without a tensor"),
        (Call("torch FloatStorage", ()), "calls torch.FloatStorage"),
        (Persistent(("module", "x")), "not of a storage"),
        (Call("torch Size", (3,)), "impossible size"),
        ({(1, 2): 1}, "key that is a tuple"),
        (Ordered({}, {}), "makes no sense|no state dict"),
    ],
)
def test_impossible_tensors_are_refused_before_anything_is_allocated(
    torch_format, tmp_path, value, message
):
    file = TorchFile({"w": value}, {"0": np.zeros(4, np.float32)})
    if message.startswith("storage"):
        file.value["v"] = tensor("0", np.zeros(4, np.float32))
    with _little_memory(), pytest.raises(UserError, match=message) as error:
        _written(torch_format, tmp_path / "w.pth", file)
    assert str(tmp_path / "w.pth") in str(error.value)


@pytest.mark.parametrize("value", [[1, 2], {}, {"w": 3}, tensor("0", np.zeros(4, np.float32))])
def test_a_file_without_a_state_dict_is_refused(torch_format, tmp_path, value):
    file = TorchFile(value, {"0": np.zeros(4, np.float32)})
    with pytest.raises(UserError, match="holds no state dict"):
        _written(torch_format, tmp_path / "w.pth", file)


def test_a_checkpoint_that_contains_itself_ends(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        inside = {}
        inside["model"] = inside
        archive.writestr("archive/data.pkl", pickle.dumps(inside, 2))
    with pytest.raises(UserError, match="holds no state dict"):
        torch_zip.read(path)


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b".", "makes no sense"),
        (b"}(X\x01\x00\x00\x00au.", "without a value"),
        (b"r\xff\xff\xff\xff.", "makes no sense"),
        (b"]r\xff\xff\xff\x7f.", "no state dict"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "garbled"),
        (b"\x8b\xff\xff\xff\x7f", "garbled"),
        (b"\x8f.", "EMPTY_SET"),
        (b"(ios\nsystem\n.", "INST"),
        (b"\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (b"KX.", "no state dict"),
        (b"\xff", "garbled"),
        (b"X\x01\x00\x00\x00aX\x01\x00\x00\x00bb.", "makes no sense"),
        (b"X\x01\x00\x00\x00a)R.", "makes no sense"),
        (b"K\x01K\x02\x93.", "makes no sense"),
        (b"t.", "makes no sense"),
        (b"K\x01\x87.", "makes no sense"),
        (b"K\x01K\x02a.", "makes no sense"),
    ],
)
def test_garbled_pickles_are_refused(tmp_path, opcodes, message):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + opcodes)
    with _little_memory(), pytest.raises(UserError, match=message):
        torch_zip.read(path)


def test_compressed_records_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**22))
    with pytest.raises(UserError, match=r"a compressed record \(archive/data.pkl\)"):
        torch_zip.read(path)


def test_a_pickle_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PICKLE_BYTES", 100)
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(101))
    with pytest.raises(UserError, match="has 101 bytes"):
        torch_zip.read(path)


def test_a_zip_without_a_state_dict_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.txt", b"")
    with pytest.raises(UserError, match=r"no data.pkl"):
        torch_zip.read(tmp_path / "w.pth")


def test_a_legacy_storage_with_another_count_is_refused(tmp_path):
    values = _random(4)
    path = weight_files.write_torch_legacy(
        tmp_path / "w.pth", weight_files.torch_state({"w": values})
    )
    content = path.read_bytes()
    for count in (3, 5, -1, 2**62):
        changed = content.replace(struct.pack("<q", 4) + values.tobytes(),
                                  struct.pack("<q", count) + values.tobytes())  # fmt: skip
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"12 bytes instead of the 16|goes beyond its"):
            torch_legacy.read(path)


def test_another_magic_number_or_version_is_refused(tmp_path):
    path = weight_files.write_torch_legacy(
        tmp_path / "w.pth", weight_files.torch_state({"w": _random(4)})
    )
    path.write_bytes(
        path.read_bytes().replace(weight_files.pickled(1001), weight_files.pickled(1002))
    )
    with pytest.raises(UserError, match="1002 instead of PyTorch's magic number and 1001"):
        torch_legacy.read(path)


def test_files_that_cannot_be_opened_or_that_change_are_refused(torch_format, tmp_path):
    form, write = torch_format
    with pytest.raises(UserError, match=r"absent.pth can't be read"):
        form.read(tmp_path / "absent.pth")
    path = write(tmp_path / "w.pth", weight_files.torch_state({"w": _random(4)}))
    tensors = form.read(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="it ends within w"):
        tensors.read("w")
    path.unlink()
    with pytest.raises(UserError, match="can't be read"):
        tensors.read("w")
