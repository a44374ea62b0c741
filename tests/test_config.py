"""Which configs are possible, and which are the same run."""

import math
import pathlib
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from configs import d_256, mini
from vgg_jax import base_config, config
from vgg_jax.data import settings as data_settings
from vgg_jax.errors import UserError
from vgg_jax.nets import settings as net_settings
from vgg_jax.runs import run_config
from vgg_jax.training import settings as training_settings


@pytest.fixture
def c():
    return d_256.get_config()


def _set(c, changes):
    with c.unlocked():
        for key, value in changes.items():
            *groups, name = key.split(".")
            group = c
            for outer in groups:
                group = group[outer]
            group[name] = value


def _refusal(function, *args):
    with pytest.raises(UserError) as caught:
        function(*args)
    return str(caught.value)


IMPOSSIBLE = [
    ("net", "F", "'F'. Choose one of A, A-LRN, B, B-5x5, C, D, E"),
    ("width", 0.0, "width"),
    ("width", -1.0, "width"),
    ("width", 1e9, "Lower --config.width"),
    ("crop_px", 32 * 10**6, "Lower --config.width (1 is the paper's) or --config.crop_px"),
    ("crop_px", 100, "crop"),
    ("crop_px", 0, "crop"),
    ("dtype", "float16", "dtype='float16' must be one of bfloat16, float32"),
    ("init", "zeros", "init='zeros' must be one of normal, glorot, he"),
    ("init_layers", "some", "init_layers='some' must be one of all, all_but_fc8, preinit"),
    ("init_sigma", 0.0, "init_sigma=0.0"),
    ("input_scale", -0.1, "input_scale=-0.1"),
    ("num_epochs", 0, "num_epochs=0"),
    ("batch_size", 0, "batch_size=0"),
    ("eval.batch_size", 0, "eval.batch_size=0"),
    ("log_every_steps", 0, "log_every_steps=0"),
    ("model_parallel", 0, "model_parallel=0"),
    ("micro_batches", 0, "micro_batches=0"),
    ("trained_layers", "conv6", "'conv6' names none of conv1_1, conv1_2, "),
    ("checkpoint_every_steps", 0, "checkpoint_every_steps=0"),
    ("dropout", 1.0, "dropout=1.0"),
    ("dropout", -0.1, "dropout=-0.1"),
    ("colour_shift", -0.1, "colour_shift=-0.1"),
    ("momentum", 1.0, "momentum=1.0"),
    ("momentum", -0.5, "momentum=-0.5"),
    ("l2_penalty", -1e-4, "l2_penalty=-0.0001"),
    ("num_classes", 1, "num_classes=1"),
    ("num_classes", -3, "num_classes=-3"),
    ("data.undecodable", "ignore", "data.undecodable='ignore' must be one of refuse, leave_out"),
    ("data.num_workers", -2, "data.num_workers=-2"),
    ("data.num_workers", 9999, "--config.data.num_workers=9999 is too many processes for "),
    ("data.decode_bytes", 0, "data.decode_bytes=0 must be at least"),
    ("data.held_out", -1, "data.held_out=-1"),
    ("data.mean_rgb", (1.0, 2.0), "data.mean_rgb=(1.0, 2.0) must be three numbers"),
    ("data.mean_rgb", (1.0, 2.0, 256.0), "data.mean_rgb=(1.0, 2.0, 256.0)"),
    ("data.mean_rgb", ("mine",), "data.mean_rgb=('mine',) must be three numbers"),
    ("train_scale", (256,), "--config.train_scale=256,512"),
    ("train_scale", (256, 384, 512), "train_scale=(256, 384, 512) must be a pair"),
    ("train_scale", (512, 256), "train_scale=(512, 256) must be a pair of whole numbers"),
    ("train_scale", (223, 512), "Raise train_scale to 224 or more, or lower crop_px"),
    ("val_scale", 223, "Raise val_scale to 224 or more, or lower crop_px"),
    ("learning_rate", 0.0, "learning_rate=0.0"),
    ("learning_rate", 1e-6, "plateau.last_rate=1e-05"),
    ("plateau.last_rate", 0.0, "plateau.last_rate=0.0"),
    ("plateau.last_rate", 0.1, "plateau.last_rate=0.1"),
    ("plateau.patience_epochs", 0, "plateau.patience_epochs"),
    ("plateau.min_improvement", -0.1, "plateau.min_improvement"),
    ("plateau.min_improvement", 100.0, "plateau.min_improvement=100.0"),
    ("plateau.factor", 0.0, "plateau.factor=0.0"),
    ("plateau.factor", 1.0, "plateau.factor=1.0"),
    ("eval.scales", (256, 256), "eval.scales=256,256 must be whole numbers, each once"),
    ("eval.classes", "some", "eval.classes='some' must be one of all, present"),
    ("eval.labels", "none.json", "There is no file none.json"),
    *(
        (key, math.inf, f"{key}=inf")
        for key in ("init_sigma", "input_scale", "colour_shift", "l2_penalty", "learning_rate")
    ),
    *(
        (key, math.nan, key)
        for key in (
            "width", "dropout", "init_sigma", "input_scale", "colour_shift", "momentum",
            "l2_penalty", "learning_rate", "plateau.factor", "plateau.last_rate",
            "plateau.min_improvement",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "says"), IMPOSSIBLE, ids=[f"{key}={value}" for key, value, _ in IMPOSSIBLE]
)
def test_an_impossible_value_is_named(c, key, value, says):
    _set(c, {key: value})
    assert says in _refusal(config.validate, c)


@pytest.mark.parametrize(
    ("init_from", "init_layers", "trained_layers", "says"),
    [
        ("none", "all", "fc", "leave other layers at random weights. Start from a trained net"),
        ("a_256", "preinit", "fc", "Only the layers of A come from the run in init_from: set"),
        ("d", "all_but_fc8", "conv5_", "new FC8 at random weights. Set --config.trained_layers=co"),
        ("d", "all_but_fc8", "conv5_,fc8", None),
        ("d", "all", "conv5_", None),
    ],
)
def test_layers_at_random_weights_are_not_frozen(c, init_from, init_layers, trained_layers, says):
    _set(c, {"init_from": init_from, "init_layers": init_layers, "trained_layers": trained_layers})
    if says is None:
        config.validate(c)
    else:
        assert says in _refusal(config.validate, c)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_scale": (224, 224), "val_scale": 224},
        {"num_classes": 0},
        {"num_classes": 2},
        {"dropout": 0.0},
        {"colour_shift": 0.0},
        {"data.mean_rgb": ()},
        {"data.mean_rgb": (0, 255, 1.5)},
        {"data.num_workers": 0},
        {"data.decode_bytes": 2**24},
        {"plateau.last_rate": 1e-2},
        {"crop_px": 32, "train_scale": (32, 40), "val_scale": 32},
    ],
)
def test_the_edges_of_what_is_possible(c, changes):
    _set(c, changes)
    config.validate(c)


def test_unknown_keys_are_refused(c):
    with pytest.raises(AttributeError, match="lerning_rate"):
        c.lerning_rate = 1.0
    with pytest.raises(AttributeError, match="nmae"):
        c.data.nmae = "folder"
    with pytest.raises(AttributeError, match="patience"):
        _ = c.plateau.patience


# ml_collections loads config files by a method that Python is going to remove.
_old_loader = pytest.mark.filterwarnings(r"ignore:the load_module\(\) method:DeprecationWarning")


def _from_command_line(monkeypatch, file, *overrides):
    path = pathlib.Path(__file__).parents[1] / "configs" / file
    # config_flags looks for overrides in sys.argv.
    monkeypatch.setattr(sys, "argv", ["program", f"--config={path}", *overrides])
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(sys.argv)
    return values.config


@_old_loader
def test_overrides_on_the_command_line(monkeypatch):
    c = _from_command_line(
        monkeypatch,
        "mini.py:e_multiscale",
        "--config.train_scale=80,96",
        "--config.data.mean_rgb=1,2.5,3",
        "--config.width=1",
        "--config.data.name=folder",
        "--config.plateau.patience_epochs=4",
    )
    config.validate(c)
    assert c.train_scale == (80, 96)
    assert c.data.mean_rgb == (1, 2.5, 3)
    assert (c.width, c.data.name, c.plateau.patience_epochs) == (1.0, "folder", 4)


@_old_loader
def test_the_mean_can_be_emptied_on_the_command_line(monkeypatch):
    c = _from_command_line(monkeypatch, "d_256.py", "--config.data.mean_rgb=()")
    config.validate(c)
    assert c.data.mean_rgb == ()
    c = _from_command_line(monkeypatch, "d_256.py", "--config.data.mean_rgb=auto")
    config.validate(c)
    assert c.data.mean_rgb == ("auto",)


@_old_loader
@pytest.mark.parametrize("key", ["typo", "data.typo"])
def test_an_unknown_key_on_the_command_line_is_refused(monkeypatch, key):
    with pytest.raises(AttributeError, match="typo"):
        _from_command_line(monkeypatch, "d_256.py", f"--config.{key}=1")


# Classes and devices.


def test_the_number_of_classes_is_the_data_sets():
    names = ("a", "b", "c")
    assert data_settings.resolve_num_classes(0, names) == 3
    assert data_settings.resolve_num_classes(3, names) == 3
    message = _refusal(data_settings.resolve_num_classes, 1000, names)
    assert "num_classes=1000, but the data set has 3 classes" in message
    assert "--config.num_classes=3" in message
    assert "--config.data.name" in message


def test_one_class_alone_is_refused():
    assert data_settings.resolve_num_classes(0, ("a", "b")) == 2
    for num_classes in (0, 1):
        message = _refusal(data_settings.resolve_num_classes, num_classes, ("cat",))
        assert "only one class, cat" in message
        assert "two classes or more" in message


def test_devices_that_cannot_share_the_fc_kernels_are_told_what_can(c):
    for model_parallel in (1, 2, 4, 8):
        _set(c, {"model_parallel": model_parallel})
        training_settings.check_divides(c, 8)
    _set(c, {"model_parallel": 3})
    assert "Set --config.model_parallel to 1 or 2 or 4 or 8." in _refusal(
        training_settings.check_divides, c, 8
    )
    _set(c, {"model_parallel": 4, "width": 0.0037})  # FC6 and FC7 have 15 outputs.
    assert "Set --config.model_parallel to 1." in _refusal(training_settings.check_divides, c, 8)


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [("batch_size", 250, 248), ("batch_size", 254, 256), ("eval.batch_size", 3, 8)],
)
def test_a_batch_that_does_not_divide_is_named(c, key, value, nearest):
    training_settings.check_divides(c, 8)
    _set(c, {key: value})
    message = _refusal(training_settings.check_divides, c, 8)
    assert f"{key}={value} doesn't divide over 8 devices" in message
    assert message.endswith(f"--config.{key}={nearest}.")
    _set(c, {key: nearest})
    training_settings.check_divides(c, 8)


# Saved configs.


def test_an_empty_workdir_holds_no_config(tmp_path):
    assert run_config.load(tmp_path) is None
    assert run_config.load(tmp_path / "absent") is None


@pytest.mark.parametrize("make", [base_config.get_config, lambda: mini.get_config("e_multiscale")])
def test_a_saved_config_is_read_back(tmp_path, make):
    c = make()
    run_config.save(c, tmp_path / "runs" / "it")
    saved = run_config.load(tmp_path / "runs" / "it")
    assert run_config.flat(saved) == run_config.flat(c)
    assert [path.name for path in (tmp_path / "runs" / "it").iterdir()] == ["config.json"]
    # It is complete: it can be validated and saved again.
    config.validate(saved)
    run_config.save(saved, tmp_path / "again")
    run_config.refuse_other_run(c, tmp_path / "again")


def test_the_same_run_goes_on(c, tmp_path):
    run_config.refuse_other_run(c, tmp_path)
    run_config.save(c, tmp_path)
    run_config.refuse_other_run(d_256.get_config(), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "other"),
        ("data.dir", "/elsewhere"),
        ("data.undecodable", "leave_out"),
        ("data.num_workers", 3),
        ("data.decode_bytes", 2**30),
        ("data.cache_dir", "/cache"),
        ("eval.batch_size", 8),
        ("eval.method", "both"),
        ("eval.scales", (256, 384)),
        ("model_parallel", 2),
        ("micro_batches", 2),
        ("remat", True),
        ("log_every_steps", 7),
        ("checkpoint_every_steps", 9),
    ],
)
def test_housekeeping_may_change(c, tmp_path, key, value):
    run_config.save(c, tmp_path)
    _set(c, {key: value})
    run_config.refuse_other_run(c, tmp_path)


def _leaves(c, prefix=""):
    for key, value in c.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


MATTERS = [
    key for key, _ in _leaves(base_config.get_config())
    if not key.startswith("eval.") and key not in {
        "name", "data.dir", "data.undecodable", "data.num_workers", "data.cache_dir",
        "data.decode_bytes", "model_parallel", "micro_batches", "remat", "log_every_steps",
        "checkpoint_every_steps",
    }
]  # fmt: skip


@pytest.mark.parametrize("key", MATTERS)
def test_whatever_else_changes_is_another_run(c, tmp_path, key):
    run_config.save(c, tmp_path)
    before = dict(_leaves(c))[key]
    match before:
        case str():
            other = before + "x"
        case tuple():
            other = (1, 2, 3)
        case _:
            other = type(before)(before + 1)
    _set(c, {key: other})
    message = _refusal(run_config.refuse_other_run, c, tmp_path)
    there, now = (list(v) if isinstance(v, tuple) else v for v in (before, other))
    assert f"{tmp_path} holds another run" in message
    assert [line for line in message.splitlines() if line.startswith(" ")] == [
        f"    {key}: {there} there, {now} now"
    ]
    assert "--workdir" in message


def test_keys_of_another_version_are_named(c, tmp_path):
    run_config.save(c, tmp_path)
    with c.unlocked():
        c.data.new_key = 3
        del c.momentum
    message = _refusal(run_config.refuse_other_run, c, tmp_path)
    assert "    data.new_key: absent there, 3 now" in message
    assert "    momentum: 0.9 there, absent now" in message


@pytest.mark.parametrize(
    ("init", "scale", "expected"),
    [("he", 0.0, 1 / 70), ("glorot", 0.0, 1 / 70), ("normal", 0.0, 1.0), ("he", 1.0, 1.0)],
)
def test_the_input_scale_follows_from_the_initialisation(c, init, scale, expected):
    _set(c, {"init": init, "input_scale": scale})
    assert net_settings.input_scale(c) == expected
