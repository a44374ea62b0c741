"""The run that another run starts from, and the commands that train missing runs."""

import pathlib
import shlex

import pytest
import saved_runs

from configs import a_256, e_384, e_multiscale, mini
from vgg_jax.errors import UserError
from vgg_jax.runs import chain, config_files, run_config, run_result


def _put_run(workdir, *, finished, c=None):
    run_config.save(c or a_256.get_config(), workdir)
    (workdir / "checkpoints" / "5").mkdir(parents=True)
    if finished:
        saved_runs.write_result(workdir, 5)


def _overridden(c, overrides):
    with c.unlocked():
        for override in overrides:
            key, value = override.removeprefix("--config.").split("=", 1)
            before = c.get_ref(key).get() if "." not in key else c.data[key.partition(".")[2]]
            value = (
                type(before)(map(int, value.split(","))) if "," in value else type(before)(value)
            )
            c.update_from_flattened_dict({key: value})
    return c


def _message(c, workdir, *overrides):
    with pytest.raises(UserError) as caught:
        chain.check(_overridden(c, overrides), workdir)
    return str(caught.value)


def _commands(message):
    return [line.strip() for line in message.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize(
    ("init_from", "expected"),
    [
        ("none", None),
        ("a_256", "somewhere/runs/a_256"),
        ("/data/vgg/a_256", "/data/vgg/a_256"),
        ("./a_256", "a_256"),
        ("~/a_256", "/home/me/a_256"),
    ],
)
def test_init_from_is_none_a_name_or_a_path(init_from, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    workdir = pathlib.Path("somewhere/runs/b_256")
    found = chain.resolve(init_from, workdir)
    assert found == (expected and pathlib.Path(expected))


def test_nothing_to_start_from_passes(tmp_path):
    chain.check(a_256.get_config(), tmp_path / "a_256")
    c = e_multiscale.get_config()
    c.init_from = "none"
    chain.check(c, tmp_path / "e_multiscale")


@pytest.mark.parametrize("init_from", ["e_384", "{root}/e_384"])
def test_a_finished_run_passes(tmp_path, init_from):
    c = e_multiscale.get_config()
    c.init_from = init_from.format(root=tmp_path)
    _put_run(tmp_path / "e_384", finished=True, c=e_384.get_config())
    chain.check(c, tmp_path / "e_multiscale")


def test_the_whole_chain_is_given_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = _message(e_multiscale.get_config(), pathlib.Path("runs/e_multiscale"))
    assert _commands(message) == [
        "python -m vgg_jax.main --config=configs/a_256.py",
        "python -m vgg_jax.main --config=configs/e_256.py",
        "python -m vgg_jax.main --config=configs/e_384.py",
    ]
    assert "runs/e_384, where there is no run" in message
    assert "--config.init_from=none" in message


def test_a_misspelt_run_comes_with_the_one_that_is_meant(tmp_path):
    c = e_multiscale.get_config()
    _put_run(tmp_path / "quickstart", finished=True, c=e_384.get_config())
    c.init_from = f"{tmp_path}/quikstart"
    assert f"no run. Did you mean {tmp_path}/quickstart? " in _message(c, tmp_path / "mine")


def test_the_chain_of_a_miniature_is_of_miniatures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    c = mini.get_config("e_multiscale")
    assert _commands(_message(c, pathlib.Path("runs/mini_e_multiscale"))) == [
        "python -m vgg_jax.main --config=configs/mini.py:a_256",
        "python -m vgg_jax.main --config=configs/mini.py:e_256",
        "python -m vgg_jax.main --config=configs/mini.py:e_384",
    ]


def test_the_chain_lies_beside_the_workdir(tmp_path):
    assert _commands(_message(e_multiscale.get_config(), tmp_path / "mine")) == [
        f"python -m vgg_jax.main --config=configs/{name}.py --workdir={tmp_path / name}"
        for name in ("a_256", "e_256", "e_384")
    ]


def test_what_the_runs_of_a_chain_share_is_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = [
        "--config.data.name=folder",
        "--config.data.dir=/data/flowers",
        "--config.num_classes=0",
        "--config.width=0.5",
    ]
    message = _message(
        e_multiscale.get_config(),
        pathlib.Path("runs/e_multiscale"),
        "--config.batch_size=64",
        *shared,
        "--config.train_scale=256,300",
    )
    commands = _commands(message)
    assert len(commands) == 3
    for command, name in zip(commands, ("a_256", "e_256", "e_384"), strict=True):
        assert command == " ".join(
            ["python -m vgg_jax.main", f"--config=configs/{name}.py", *shared]
        )


def test_the_commands_survive_a_shell(tmp_path):
    workdir, override = tmp_path / "my runs" / "e_384", "--config.data.dir=/my data (1)"
    message = _message(e_384.get_config(), workdir, override)
    for command, name in zip(_commands(message), ("a_256", "e_256"), strict=True):
        assert shlex.split(command)[3:] == [
            f"--config=configs/{name}.py",
            f"--workdir={workdir.parent / name}",
            override,
        ]


def test_what_is_finished_is_left_out(tmp_path):
    _put_run(tmp_path / "a_256", finished=True)
    message = _message(e_multiscale.get_config(), tmp_path / "e_multiscale")
    assert [command.split("configs/")[1].split(".py")[0] for command in _commands(message)] == [
        "e_256",
        "e_384",
    ]


def test_what_is_unfinished_is_run_again(tmp_path):
    _put_run(tmp_path / "e_256", finished=False)
    message = _message(e_multiscale.get_config(), tmp_path / "e_multiscale")
    assert [command.split("configs/")[1].split(".py")[0] for command in _commands(message)] == [
        "a_256",
        "e_256",
        "e_384",
    ]


def test_an_unfinished_source_will_do_but_is_named(tmp_path):
    _put_run(tmp_path / "e_384", finished=False, c=e_384.get_config())
    c, workdir = e_multiscale.get_config(), tmp_path / "e_multiscale"
    chain.check(c, workdir)
    assert f"{tmp_path / 'e_384'} hasn't finished" in chain.unfinished_source(c, workdir)
    (tmp_path / "e_384" / "result.json").touch()
    assert chain.unfinished_source(c, workdir) is None


def test_a_source_without_a_checkpoint_is_missing(tmp_path):
    run_config.save(e_384.get_config(), tmp_path / "e_384")
    (tmp_path / "e_384" / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    message = _message(e_multiscale.get_config(), tmp_path / "e_multiscale")
    assert _commands(message)[-1].startswith("python -m vgg_jax.main --config=configs/e_384.py")


@pytest.mark.parametrize(("key", "value"), [("width", 0.5), ("crop_px", 192), ("net", "D")])
def test_a_source_that_does_not_fit_is_refused(tmp_path, key, value):
    source = e_384.get_config()
    source[key] = value
    _put_run(tmp_path / "e_384", finished=True, c=source)
    message = _message(e_multiscale.get_config(), tmp_path / "e_multiscale")
    assert f"{key} is {value} there" in message
    assert f"Set --config.{key}={value}, or choose" in message
    assert ("--config.init_layers=preinit" in message) == (key == "net")


def test_a_source_whose_width_gives_the_same_channels_passes(tmp_path):
    source, c = e_384.get_config(), e_multiscale.get_config()
    source.width, c.width = 0.3, 1229 / 4096
    _put_run(tmp_path / "e_384", finished=True, c=source)
    chain.check(c, tmp_path / "e_multiscale")


def test_a_source_without_fc_layers_needs_new_ones(tmp_path):
    source = e_384.get_config()
    source.crop_px, source.train_scale = 192, (256, 256)  # No layer depends on them.
    _put_run(tmp_path / "e_384", finished=True, c=source)
    imported = {"file": "e.pth", "fc_layers": False}
    run_result.write(tmp_path / "e_384", {"imported": imported, "commits": []})
    message = _message(e_multiscale.get_config(), tmp_path / "e_multiscale")
    assert "imported without FC layers. Draw new ones: --config.init_layers=all_but_fc8" in message
    c = e_multiscale.get_config()
    c.init_layers = "all_but_fc8"
    chain.check(c, tmp_path / "e_multiscale")
    c.trained_layers = "conv5_,fc8"
    assert "Add fc to --config.trained_layers" in _message(c, tmp_path / "e_multiscale")
    c.trained_layers = "fc6,fc7,fc8"
    chain.check(c, tmp_path / "e_multiscale")


@pytest.mark.parametrize(("held_out", "seed"), [(0, 0), (300, 1)])
def test_images_that_the_source_was_trained_on_are_not_held_out(tmp_path, held_out, seed):
    source, c = e_384.get_config(), e_multiscale.get_config()
    for each in (source, c):
        each.data.name, each.data.dir, each.data.held_out = "folder", "my_images", 300
    _put_run(tmp_path / "e_384", finished=True, c=source)
    workdir = tmp_path / "e_multiscale"
    chain.check(c, workdir)
    source.data.held_out, source.seed, source.data.dir = held_out, seed, "my_images/"
    _put_run(tmp_path / "other", finished=True, c=source)
    c.init_from = "other"
    values = f"seed={seed}" if seed else f"data.held_out={held_out}"
    assert f"that this run holds out: it had {values}. Give the same" in _message(c, workdir)
    c.data.dir = "others"
    chain.check(c, workdir)
    c.data.dir, c.data.held_out = "my_images", 0
    chain.check(c, workdir)


@pytest.mark.parametrize("init_from", ["my_own_run", "{root}/a_256", "base", "mini", "mini_base"])
def test_what_no_config_makes_is_said(tmp_path, init_from):
    c = e_multiscale.get_config()
    c.init_from = init_from.format(root=tmp_path)
    message = _message(c, tmp_path / "runs" / "e_multiscale")
    assert "No config of this project makes it" in message
    assert _commands(message) == []


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("d_384", "configs/d_384.py"),
        ("mini_d_384", "configs/mini.py:d_384"),
        ("quickstart", "configs/quickstart.py"),
    ],
)
def test_a_run_is_found_by_its_name(name, spec):
    found, c = config_files.of_run(name)
    assert found == spec
    assert c.name == name


@pytest.mark.parametrize("name", ["", "f_256", "mini_f_256", "mini_", "base", "mini", "../a_256"])
def test_other_names_are_no_runs(name):
    assert config_files.of_run(name) is None
