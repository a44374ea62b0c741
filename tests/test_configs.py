"""The configs against the paper's Table 3, against §3.1 and against each other."""

import dataclasses
import importlib
import inspect
import pathlib
import re

import pytest

from configs import mini
from vgg_jax import base_config, config
from vgg_jax.data import settings as data_settings
from vgg_jax.evaluation import settings as evaluation_settings
from vgg_jax.nets import settings as net_settings
from vgg_jax.nets.settings import ARCHITECTURE_KEYS
from vgg_jax.runs import run_config
from vgg_jax.training.step import Recipe

ROOT = pathlib.Path(__file__).parents[1]

# Table 3, from the paper: run -> net, S, Q, top-1 error, top-5 error.
TABLE_3 = {
    "a_256": ("A", (256, 256), 256, 29.6, 10.4),
    "a_lrn_256": ("A-LRN", (256, 256), 256, 29.7, 10.5),
    "b_256": ("B", (256, 256), 256, 28.7, 9.9),
    "c_256": ("C", (256, 256), 256, 28.1, 9.4),
    "c_384": ("C", (384, 384), 384, 28.1, 9.3),
    "c_multiscale": ("C", (256, 512), 384, 27.3, 8.8),
    "d_256": ("D", (256, 256), 256, 27.0, 8.8),
    "d_384": ("D", (384, 384), 384, 26.8, 8.7),
    "d_multiscale": ("D", (256, 512), 384, 25.6, 8.1),
    "e_256": ("E", (256, 256), 256, 27.3, 9.0),
    "e_384": ("E", (384, 384), 384, 26.9, 8.7),
    "e_multiscale": ("E", (256, 512), 384, 25.5, 8.0),
}
PAPER = [*TABLE_3, "b_5x5_256"]
RUNS = [*PAPER, "quickstart"]


def _config(name):
    return importlib.import_module(f"configs.{name}").get_config()


def test_there_is_a_file_for_every_run_of_the_paper_and_no_other():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert files - {"__init__", "base", "mini"} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_config_is_possible_and_called_like_its_file(name):
    c = _config(name)
    assert c.name == name
    assert c.is_locked
    config.validate(c)


@pytest.mark.parametrize("name", TABLE_3)
def test_a_config_is_its_row_of_table_3(name):
    net, train_scale, val_scale, top1, top5 = TABLE_3[name]
    c = _config(name)
    assert (c.net, c.train_scale, c.val_scale) == (net, train_scale, val_scale)
    header = importlib.import_module(f"configs.{name}").__doc__
    assert f"expect a dense top-1 error of {top1}%, top-5 {top5}%" in header
    low, high = train_scale
    scale = f"S = {low}" if low == high else f"S in [{low}; {high}]"
    assert f"Table 3, {scale}, Q = {val_scale}:" in header
    (row,) = re.findall(rf"^\| \[{name}\].*$", (ROOT / "configs/README.md").read_text(), re.M)
    assert row.endswith(f"| {top1} / {top5} |")


def test_b_with_5x5_kernels_is_trained_like_b():
    ours, plain = (run_config.flat(_config(name)) for name in ("b_5x5_256", "b_256"))
    assert {key for key in ours if ours[key] != plain[key]} == {"name", "net"}
    assert ours["net"] == "B-5x5"


@pytest.mark.parametrize("name", PAPER)
def test_a_run_starts_where_the_paper_starts_it(name):
    c = _config(name)
    net, scale = name.rsplit("_", 1)
    expected = {
        "256": ("none", "all", 1e-2) if net in ("a", "a_lrn") else ("a_256", "preinit", 1e-2),
        "384": (f"{net}_256", "all", 1e-3),
        "multiscale": (f"{net}_384", "all", 1e-3),
    }[scale]
    assert (c.init_from, c.init_layers, c.learning_rate) == expected


def test_what_the_paper_fixes_for_all_runs():
    c = base_config.get_config()
    assert (c.crop_px, c.num_classes, c.width, c.dropout) == (224, 1000, 1.0, 0.5)
    assert (c.batch_size, c.num_epochs) == (256, 74)
    assert (c.learning_rate, c.momentum, c.l2_penalty) == (1e-2, 0.9, 5e-4)
    assert (c.init_sigma, c.colour_shift) == (0.1, 0.1)
    assert c.data.mean_rgb == ("auto",)  # ILSVRC's for imagenet2012: see test_net_input.py.
    assert c.schedule == "plateau"
    assert c.plateau.to_dict() == {
        "patience_epochs": 5, "min_improvement": 0.1, "factor": 0.1, "last_rate": 1e-5,
    }  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_a_run_of_the_paper_changes_nothing_else(name):
    ours, standard = (run_config.flat(c) for c in (_config(name), base_config.get_config()))
    changed = {key for key in ours if ours[key] != standard[key]}
    assert ours.keys() == standard.keys()
    assert changed <= {
        "name", "net", "train_scale", "val_scale", "init_from", "init_layers", "learning_rate",
    }  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_what_a_run_starts_from_is_another_run(name):
    chain = [name]
    while (source := _config(chain[-1]).init_from) != "none":
        assert source in RUNS
        assert source not in chain
        chain.append(source)
    assert chain[-1] in ("a_256", "a_lrn_256", "quickstart")


@pytest.mark.parametrize("name", RUNS)
def test_the_header_has_the_command_and_the_start(name):
    header = importlib.import_module(f"configs.{name}").__doc__
    assert f"    python -m vgg_jax.main --config=configs/{name}.py\n" in header
    assert re.search(r"Starts from", header)
    source = _config(name).init_from
    assert source == "none" or f"runs/{source}" in header
    assert re.search(r"^Reproduces ", header, re.MULTILINE)


# Miniatures.

SHRUNK = {256: 73, 384: 110, 512: 146}


@pytest.mark.parametrize("name", PAPER)
def test_a_miniature_is_in_proportion(name):
    c, small = _config(name), mini.get_config(name)
    config.validate(small)
    assert small.is_locked
    assert small.name == f"mini_{name}"
    assert small.crop_px == 64
    assert small.train_scale == tuple(SHRUNK[px] for px in c.train_scale)
    assert small.val_scale == SHRUNK[c.val_scale]
    assert small.init_from == ("none" if c.init_from == "none" else f"mini_{c.init_from}")
    same = ("net", "init_layers", "learning_rate", "momentum", "l2_penalty", "dropout", "seed")
    assert {key: small[key] for key in same} == {key: c[key] for key in same}
    assert (small.data.name, small.num_classes) == ("shapes", 0)
    assert small.width < c.width
    assert small.batch_size < c.batch_size
    assert small.num_epochs < c.num_epochs


def test_a_miniature_of_the_miniature_keeps_its_scale():
    small, quick = mini.get_config("quickstart"), _config("quickstart")
    config.validate(small)
    assert (small.crop_px, small.train_scale, small.val_scale) == (64, (73, 73), 73)
    assert (quick.net, quick.crop_px, quick.init_from) == ("A", 64, "none")


def test_the_miniature_says_how_it_shrinks():
    for px, small in SHRUNK.items():
        assert f"{px} -> {small}" in mini.__doc__
    assert "    python -m vgg_jax.main --config=configs/mini.py:e_multiscale\n" in mini.__doc__


# Keys.


def test_every_key_is_read():
    # A check alone doesn't count as reading a key.
    code = "\n".join(
        inspect.getsource(function)
        for settings in (net_settings, data_settings, evaluation_settings)
        for name, function in inspect.getmembers(settings, inspect.isfunction)
        if not name.startswith("check")
    ) + "\n".join(
        path.read_text()
        for path in (ROOT / "vgg_jax").rglob("*.py")
        if path.name not in ("config.py", "base_config.py", "settings.py")
    )
    c = base_config.get_config()
    by_name = {field.name for field in dataclasses.fields(Recipe)} | {*ARCHITECTURE_KEYS}
    keys = [key for key in run_config.flat(c) if key not in by_name]
    assert len(keys) > 30
    assert [key for key in keys if not re.search(rf"\bc\.{re.escape(key)}\b", code)] == []


def test_every_key_has_a_comment():
    lines = (ROOT / "vgg_jax/base_config.py").read_text().splitlines()
    plain = {"momentum"}  # The name is clear enough.
    for key in run_config.flat(base_config.get_config()):
        (line,) = (line for line in lines if line.startswith(f"    c.{key} = "))
        name = key.rsplit(".")[-1]
        assert "#" in line or name in plain | {
            "train_split", "patience_epochs", "factor", "log_every_steps",
        }  # fmt: skip
