"""Imports: from a weight file of another package to a workdir that does all that a run's does."""

import hashlib
import json
import subprocess
import sys
import time

import caffe_files
import foreign_arrays
import forked
import jax
import numpy as np
import pytest
import small_runs
import weight_files

import vgg_jax
from vgg_jax.errors import UserError
from vgg_jax.foreign import class_names, importing
from vgg_jax.foreign.net import CAFFE, TORCHVISION
from vgg_jax.nets.vgg import VGG
from vgg_jax.runs import run_config
from vgg_jax.storage import writer
from vgg_jax.system import config_flag

IMAGES = np.random.default_rng(1).integers(0, 256, (2, 71, 90, 3), np.uint8)
NAMES = tuple("abcdefg")


@pytest.fixture
def run_import(tmp_path, monkeypatch):
    """Imports a file with the command's flags, in this process; returns the workdir."""
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n")
    monkeypatch.chdir(small_runs.ROOT)

    def call(path, *given):
        config = [flag for flag in given if flag.startswith("--config")]
        flags = dict(flag[2:].split("=") for flag in given if flag not in config)
        c = config_flag.parse_config(config) if config else None
        print(importing.import_file(path, tmp_path / "run", c, importing.Choices(**flags)))
        return tmp_path / "run"

    return call


def classes(tmp_path):
    return f"--classes={tmp_path / 'classes.txt'}"


def torch_file(path, arrays):
    return weight_files.write_torch_zip(path, weight_files.torch_state(arrays))


def caffe_file(path, params):
    path.write_bytes(caffe_files.model(params))
    return path


def logits(net, params, images, preprocessing, pooling="floor"):
    """Computes a net's class scores as the package that trained it would."""
    x = (images.astype(np.float64) - preprocessing.mean_rgb) / preprocessing.std_rgb
    x = jax.numpy.asarray(x[..., ::-1] if preprocessing.bgr else x, np.float32)
    model = VGG(net, num_classes=7, width=1 / 16, crop_px=64, pooling=pooling)
    with jax.default_matmul_precision("highest"):
        params = jax.tree.map(jax.numpy.asarray, params)
        return jax.jit(model.apply)({"params": params}, x).mean((1, 2))


def assert_close(ours, theirs):
    assert np.max(np.abs(ours - theirs)) < 1e-5 * np.max(np.abs(theirs))
    assert np.max(np.abs(theirs[0] - theirs[1])) > 1e-3 * np.max(np.abs(theirs))


@pytest.mark.parametrize("net", ["A", "B", "D", "E"])
def test_a_torchvision_file_becomes_a_workdir(net, tmp_path, run_import):
    params = foreign_arrays.random_params(net)
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision(net, params))

    ours = vgg_jax.load(run_import(path, classes(tmp_path)))

    assert (ours.model.net, ours.model.width, ours.model.crop_px) == (net, 1 / 16, 64)
    assert ours.class_names == NAMES
    assert ours.model.pooling == "floor"
    assert ours.inference.normalise.input_scale == 1 / 70
    assert_close(ours(IMAGES), logits(net, params, IMAGES, TORCHVISION))
    for name in params:
        kinds = ("kernel", "bias") if name != "conv1_1" else ("bias",)
        for kind in kinds:
            np.testing.assert_array_equal(ours.params[name][kind], params[name][kind])


def test_a_caffemodel_becomes_a_workdir_with_ceil_pooling(tmp_path, run_import):
    params = foreign_arrays.random_params("D")
    workdir = run_import(caffe_file(tmp_path / "vgg.caffemodel", params), classes(tmp_path))

    ours = vgg_jax.load(workdir)

    assert run_config.load(workdir).eval.pooling == ours.model.pooling == "ceil"
    assert_close(ours(IMAGES), logits("D", params, IMAGES, CAFFE, "ceil"))


@pytest.mark.parametrize("old", [True, False])
def test_a_caffemodels_normalisation_and_pooling_are_seen(tmp_path, run_import, old):
    def file(net, *others):
        params = foreign_arrays.random_params(net)
        path = tmp_path / "vgg.caffemodel"
        path.write_bytes(caffe_files.model(params, old=old) + b"".join(others))
        return path

    norm = caffe_files.norm(old=old)
    for method, size, pad in ((1, 2, 0), (0, 3, 0), (0, 2, 1)):
        pooling = caffe_files.pooling(method, old=old, size=size, pad=pad)
        with pytest.raises(UserError, match="pooling of another kind than those of Table 1"):
            run_import(file("A", pooling), classes(tmp_path))
    for others in ({"alpha": 1e-4}, {"k": 1.0}):
        with pytest.raises(UserError, match=r"normalisation with .*A-LRN has local_size=5, alph"):
            run_import(file("A", caffe_files.norm(old=old, **others)), classes(tmp_path))
    with pytest.raises(UserError, match="holds net A-LRN, but its kernels are those of net D"):
        run_import(file("D", norm), classes(tmp_path))
    with pytest.raises(UserError, match="holds net A-LRN, but --net=A"):
        run_import(file("A", norm), classes(tmp_path), "--net=A")
    path = file("A", norm, caffe_files.pooling(0, old=old))
    assert vgg_jax.load(run_import(path, classes(tmp_path))).model.net == "A-LRN"


def test_caffes_weights_in_torchvisions_names_are_imported_as_what_they_are(tmp_path, run_import):
    params = foreign_arrays.random_params("D")
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("D", params))
    workdir = run_import(path, classes(tmp_path), "--preprocessing=caffe")
    assert_close(vgg_jax.load(workdir)(IMAGES), logits("D", params, IMAGES, CAFFE))


def test_the_result_says_where_the_net_comes_from(tmp_path, run_import, capsys):
    params = foreign_arrays.random_params("A")
    path = torch_file(tmp_path / "mine.pth", foreign_arrays.torchvision("A", params))
    workdir = run_import(path, classes(tmp_path))
    assert "holds net A of mine.pth (torchvision), with 7 classes" in capsys.readouterr().out
    result = json.loads((workdir / "result.json").read_text())
    assert result["imported"] == {
        "file": "mine.pth",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "layout": "torchvision",
        "fc_layers": True,
    }
    assert not list((workdir / "checkpoints/0").rglob("opt_state*"))


def test_with_a_config_the_workdir_holds_that_run(tmp_path, run_import):
    params = foreign_arrays.random_params("D")
    config = ("--config=configs/mini.py:d_multiscale", "--config.width=0.0625")
    workdir = run_import(
        caffe_file(tmp_path / "vgg.caffemodel", params), classes(tmp_path), *config
    )
    c = run_config.load(workdir)
    assert (c.name, c.train_scale, c.init_from) == ("mini_d_multiscale", (73, 146), "mini_d_384")
    assert_close(vgg_jax.load(workdir)(IMAGES), logits("D", params, IMAGES, CAFFE, "ceil"))


def test_a_net_of_1000_classes_has_imagenets_synsets():
    names = class_names.of_net(1000, None)
    assert (names[0], names[-1], len(names)) == ("n01440764", "n15075141", 1000)
    assert list(names) == sorted(names)
    assert class_names.shown("n01440764") == "n01440764 tench"
    assert class_names.shown("tench") == "tench"
    assert class_names.short("n01494475") == "hammerhead"
    assert class_names.short("tench") == "tench"


# An imported net is evaluated, predicted with, and trained on.


@pytest.fixture
def imported(tmp_path, run_import):
    params = foreign_arrays.random_params("A", width=1 / 32, num_classes=3)
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    return run_import(path, classes(tmp_path))


def test_an_imported_run_is_evaluated(imported, folder, run_main, capsys):
    images = ("--config.data.name=folder", f"--config.data.dir={folder}")
    run_main(f"--workdir={imported}", "--mode=eval", *images)
    assert "dense, Q = 73: top-1 error" in capsys.readouterr().out
    run_main(f"--workdir={imported}")  # Without images, it says how to evaluate.
    said = capsys.readouterr().out
    assert "imported from vgg.pth. To evaluate it:" in said
    assert f"--mode=eval --workdir={imported} --config.data.dir=DATA" in said


@pytest.mark.parametrize("fc", [True, False])
def test_a_run_starts_from_an_imported_one(tmp_path, run_import, folder, run_main, capsys, fc):
    params = foreign_arrays.random_params("A", width=1 / 32, fc=fc)
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    workdir = run_import(path, *[classes(tmp_path)] * fc)
    run_main(
        *small_runs.one_epoch(folder, tmp_path / "tuned", "--config.eval.method=none"),
        *(f"--config.init_from={workdir}", "--config.init_layers=all_but_fc8"),
        *("--config.trained_layers=fc", "--config.learning_rate=1e-3"),
    )
    result = json.loads((tmp_path / "tuned/result.json").read_text())
    # He's initialisation begins near ln(3); an input at another scale would be far from it.
    assert result["last"]["loss"] < 3
    tuned, source = vgg_jax.load(tmp_path / "tuned"), vgg_jax.load(workdir)
    np.testing.assert_array_equal(
        tuned.params["conv3_1"]["kernel"], source.params["conv3_1"]["kernel"]
    )
    assert tuned.inference.normalise == source.inference.normalise  # Not the mean of `folder`.
    assert f"starts from {workdir}, with the mean RGB 123.7,116.3,103.5 of that run" in (
        capsys.readouterr().out
    )


def test_a_net_without_fc_layers_has_features_and_no_classes(tmp_path, run_import, run_main):
    params = foreign_arrays.random_params("D", fc=False)
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("D", params))
    workdir = run_import(path)
    net = vgg_jax.load(workdir)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(net.params))
    assert repr(net) == (
        f"TrainedNet(net D, {num_parameters:,} parameters, no FC layers, float32, step 0)"
    )
    assert net.features(IMAGES, ["relu3_3"])["relu3_3"].shape == (2, 17, 22, 16)
    for use in (
        lambda: net(IMAGES),
        lambda: net.posteriors([IMAGES[0]], scales=(224,)),
        lambda: net.score_map(IMAGES[0], scale=224),
        lambda: net.features(IMAGES, ["conv1_1", "relu7"]),
    ):
        with pytest.raises(UserError, match="imported without FC layers"):
            use()


# What is refused.


def test_a_workdir_in_use_is_refused_and_left_alone(tmp_path, run_import):
    path = torch_file(tmp_path / "a.pth", {"features.0.weight": np.ones((4, 3, 3, 3), np.float32)})
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    with pytest.raises(UserError, match="run isn't empty"):
        run_import(path)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["config.json"]


def test_the_same_import_may_be_repeated(tmp_path, run_import):
    path, named = random_file(tmp_path), classes(tmp_path)
    run_import(path, named)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    run_import(path, named)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before
    for more in ("--preprocessing=caffe", "--net=B"):
        with pytest.raises(UserError):
            run_import(path, named, more)
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError):
        run_import(path, named)


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda a: a.pop("features.3.bias"), (), "features.3"),
        (lambda a: a["features.3.bias"].fill(np.nan), (), "bias of conv2_1 holds values that"),
        (lambda a: a.update(extra=np.ones(3, np.float32)), (), "extra"),
        (lambda a: None, ("--net=A-LRN", "--config=configs/mini.py:b_256"), "net is A-LRN"),
        (lambda a: None, ("--net=B",), "--net=B, but the file holds net A or A-LRN"),
        (lambda a: None, ("--classes=absent.txt",), "--classes=absent.txt can't be read"),
        (lambda a: None, ("--classes=README.md",), "--classes=README.md has .* lines, and"),
        (lambda a: None, (), r"7 classes, not ImageNet's 1,000\. Name them with --classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_leaves_nothing(tmp_path, run_import, change, more, message):
    arrays = foreign_arrays.torchvision("A", foreign_arrays.random_params("A"))
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    path = torch_file(tmp_path / "vgg.pth", arrays)
    given = more if any("--classes" in flag for flag in more) or "Name them" in message else (
        *more, classes(tmp_path),
    )  # fmt: skip
    with pytest.raises(UserError, match=message):
        run_import(path, *given)
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".run*"))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 3\n", "is a Git LFS pointer"),
        (b"\x00" * 100, "is not a weight file that this package reads: .pth"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, run_import, contents, message):
    path = tmp_path / "vgg16.pth"
    path.write_bytes(contents)
    with pytest.raises(UserError, match=message) as caught:
        run_import(path)
    assert str(path) in str(caught.value)


CONFIG = ("--config=configs/mini.py:a_256", "--config.width=0.0625")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--config.data.mean_rgb=1,2,3",), r"mean RGB 123\.675,116\.28,103\.53, .*=1,2,3"),
        (("--config.init=normal",), r"scale is 1 \(init=normal.* --config\.input_scale=0\.0142857"),
        (("--config.input_scale=1",), r"input scale is 1 .*diverges"),
        (("--config.width=0.1",), r"width is 0\.0625 in the file and 0\.1 in the config"),
        (("--config.num_classes=5",), "num_classes is 7 in the file and 5 in the config"),
    ],
)
def test_a_config_of_another_run_is_refused(tmp_path, run_import, more, message):
    path = torch_file(
        tmp_path / "vgg.pth", foreign_arrays.torchvision("A", foreign_arrays.random_params("A"))
    )
    with pytest.raises(UserError, match=message):
        run_import(path, classes(tmp_path), *CONFIG, *more)
    assert not (tmp_path / "run").exists()


def test_normal_initialisation_may_have_the_input_scale_of_imports(tmp_path, run_import):
    params = foreign_arrays.random_params("A")
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    more = ("--config.init=normal", f"--config.input_scale={1 / 70}")
    net = vgg_jax.load(run_import(path, classes(tmp_path), *CONFIG, *more))
    assert_close(net(IMAGES), logits("A", params, IMAGES, TORCHVISION))


def test_a_config_of_the_second_net_with_the_same_shapes_needs_the_nets_name(tmp_path, run_import):
    params = foreign_arrays.random_params("A")
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    config = ("--config=configs/mini.py:a_lrn_256", "--config.width=0.0625")
    with pytest.raises(UserError, match=r"net A and A-LRN, and the config is of net A-LRN.*--net="):
        run_import(path, classes(tmp_path), *config)
    workdir = run_import(path, classes(tmp_path), *config, "--net=A-LRN")
    assert run_config.load(workdir).net == "A-LRN"


def test_a_width_whose_channels_are_rounded_is_that_of_its_config(tmp_path, run_import):
    params = foreign_arrays.random_params("A", width=0.11)
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    workdir = run_import(path, classes(tmp_path), CONFIG[0], "--config.width=0.11")
    assert run_config.load(workdir).width == 0.11


@pytest.mark.parametrize("more", [CONFIG, ("--classes=names.txt",)])
def test_a_file_without_fc_layers_is_no_run_with_classes(tmp_path, run_import, more):
    params = foreign_arrays.random_params("A", fc=False)
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    with pytest.raises(UserError, match=r"vgg\.pth: .*no FC layers, so .*Leave .* out"):
        run_import(path, *more)
    assert not (tmp_path / "run").exists()


def npz_file(path, params):
    arrays = {f"{name}_{kind[0]}": params[name][kind] for name in params for kind in params[name]}
    arrays = {name.replace("_k", "_W"): array for name, array in arrays.items()}
    for name in ("fc6_W", "fc7_W", "fc8_W"):
        arrays[name] = arrays[name].reshape(-1, arrays[name].shape[-1])
    np.savez(path, **arrays)
    return path


def test_a_preprocessing_that_the_file_settles_is_not_overridden(tmp_path, run_import):
    params = foreign_arrays.random_params("D")
    caffe = caffe_file(tmp_path / "vgg.caffemodel", params)
    npz = npz_file(tmp_path / "vgg16_weights.npz", params)
    for path, choice in ((caffe, "torchvision"), (npz, "torchvision"), (npz, "caffe")):
        with pytest.raises(UserError, match=f"--preprocessing={choice} contradicts the file"):
            run_import(path, classes(tmp_path), f"--preprocessing={choice}")
    run_import(caffe, classes(tmp_path), "--preprocessing=caffe")


def test_a_usual_preprocessing_is_said(tmp_path, run_import, capsys):
    params = foreign_arrays.random_params("A")
    path = torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))
    run_import(path, classes(tmp_path))
    assert "images as torchvision preprocesses them, as is usual" in capsys.readouterr().out


def test_our_arrays_without_our_notes_are_refused(tmp_path, run_import):
    params = foreign_arrays.random_params("A")
    arrays = {f"{name}/{kind}": params[name][kind] for name in params for kind in params[name]}
    path = weight_files.write_safetensors(tmp_path / "ours.safetensors", arrays)
    with pytest.raises(UserError, match="have this package's names, but not its notes"):
        run_import(path, classes(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\nc\nb\na\nd\ne\n", "has names in more than one line: a, b. Give"),
        ("a\nb\n\nc\nd\ne\nf\n", "has no name in line 3"),
        ("a\n", "has 1 lines, and the net has 7 classes"),
    ],
)
def test_names_of_classes_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        class_names.of_net(7, str(path))


def test_another_net_is_refused_by_the_names_of_its_arrays(tmp_path, run_import):
    path = torch_file(
        tmp_path / "resnet.pth", {"layer1.0.conv1.weight": np.ones((4, 3, 3, 3), "f4")}
    )
    with pytest.raises(
        UserError, match=r"resnet.pth holds no net .*called layer1\.0\.conv1\.weight"
    ):
        run_import(path)


def test_a_name_with_other_digits_than_its_checksum_is_refused(tmp_path, run_import):
    arrays = foreign_arrays.torchvision("A", foreign_arrays.random_params("A"))
    path = torch_file(tmp_path / "vgg11-01234567.pth", arrays)
    with pytest.raises(UserError, match="01234567"):
        run_import(path, classes(tmp_path))


def test_a_wrong_command_says_how_it_goes():
    with forked.command("vgg_jax.weights") as command:
        for argv in ([], ["import", "a.pth"], ["imports", "a.pth", "run"]):
            done = command(*argv)
            assert done.returncode == 2
            says = "error: Give: python -m vgg_jax.weights import FILE WORKDIR"
            assert done.stderr.startswith(says), argv


def random_file(tmp_path):
    params = foreign_arrays.random_params("A")
    return torch_file(tmp_path / "vgg.pth", foreign_arrays.torchvision("A", params))


def test_what_a_killed_import_left_is_removed_by_the_next(tmp_path, run_import):
    path, aside = random_file(tmp_path), tmp_path / ".run.partial"
    command = ("-m", "vgg_jax.weights", "import", path, tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, *map(str, command), classes(tmp_path)], cwd=small_runs.ROOT
    ) as process:
        while not aside.exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    assert aside.exists()
    assert not (tmp_path / "run").exists()
    assert vgg_jax.load(run_import(path, classes(tmp_path))).class_names == NAMES
    assert list(tmp_path.glob(".*")) == []


def test_two_imports_into_one_workdir(tmp_path, run_import):
    path = random_file(tmp_path)
    with (
        writer.one_writer(tmp_path, "run-import", "importing run", "go elsewhere"),
        pytest.raises(UserError, match="has been importing run there since"),
    ):
        run_import(path, classes(tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_meanwhile_is_left_alone(tmp_path, monkeypatch, run_import):
    path = random_file(tmp_path)
    save = run_config.save

    def begin_too(c, aside):
        small_runs.fill(tmp_path / "run", {"metrics.jsonl": b""})
        save(c, aside)

    monkeypatch.setattr(run_config, "save", begin_too)
    with pytest.raises(UserError, match=r"isn't empty\. Choose another workdir"):
        run_import(path, classes(tmp_path))
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]
    assert list(tmp_path.glob(".*")) == []
