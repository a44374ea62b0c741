"""A workdir alone is enough to resume its run, to evaluate it and to fuse it."""

import json
import shlex
import shutil

import pytest
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.runs import run_config


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def refusal(run_main, *args):
    with pytest.raises(UserError) as caught:
        run_main(*args)
    return str(caught.value)


def test_without_a_config_and_a_workdir_one_is_told_what_to_give(run_main):
    assert refusal(run_main).startswith(
        "Give --config=configs/NAME.py to train a net, or --workdir"
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_workdir_without_a_run_needs_a_config(run_main, tmp_path, mode):
    message = refusal(run_main, f"--mode={mode}", f"--workdir={tmp_path}")
    assert message.startswith(f"There is no run in {tmp_path}. Give --config=configs/NAME.py")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        (["--workdri=runs/mine"], "--workdri. Did you mean --workdir?"),
        (["--confg=configs/mini.py:a_256", "--workdir=absent"], "--confg. Did you mean --config?"),
        (["--workdir=absent", "--mod=eval"], "--mod. Did you mean --mode?"),
        (["--learning_rate=1"], "--learning_rate. Did you mean --config.learning_rate?"),
        (["--data.dir=images"], "--data.dir. Did you mean --config.data.dir?"),
        (["--name.q=images"], "--name.q. See --help."),
    ],
)
def test_a_misspelt_flag_is_the_likelier_reason(run_main, flags, meant):
    assert refusal(run_main, *flags).startswith(f"There is no flag {meant}")


@pytest.mark.parametrize("flag", ["--workdir={}", "--workdir {}", "-workdir={}"])
def test_a_finished_run_is_shown(run_main, workdir, capsys, flag):
    run_main(*flag.format(workdir).split(), "--config.eval.method=none")
    result = json.loads((workdir / "result.json").read_text())
    output = capsys.readouterr().out
    assert output.startswith("This run is finished.\n\n")
    assert f"top-1 error {result['last']['top1_error']:.2f}%" in output
    assert "9 validation images (centre crop; the paper reports dense evaluation, §3.2)" in output


def test_a_finished_run_says_that_other_images_are_not_opened(run_main, workdir, capsys):
    run_main(f"--workdir={workdir}", "--config.eval.method=none", "--config.data.dir=no/where")
    assert "data.dir=no/where was not opened: with eval.method=none," in capsys.readouterr().out


def test_an_unfinished_run_goes_on(workdir):
    before = (workdir / "result.json").read_text()
    (workdir / "result.json").unlink()
    done = small_runs.run_process(f"--workdir={workdir}", "--config.eval.method=none")
    assert done.returncode == 0, done.stderr
    assert "goes on at step 2" in done.stdout
    assert (workdir / "result.json").read_text() == before


def test_it_is_evaluated_as_its_config_says_or_otherwise(run_main, workdir, capsys):
    printed = (workdir / "output").read_text()
    run_main("--mode=eval", f"--workdir={workdir}")
    again = capsys.readouterr().out.splitlines()
    assert len(again) == 4  # Both methods, their average, the report; nothing was computed again.
    assert all(line in printed for line in again[:-1])
    run_main("--mode=eval", f"--workdir={workdir}", "--config.eval.scales=80")
    assert "dense, Q = 80: 9 images" in capsys.readouterr().out


def test_what_is_given_must_be_the_runs(run_main, workdir, folder):
    where = f"--workdir={workdir}"
    assert "    learning_rate: 0.01 there, 0.1 now" in refusal(
        run_main, where, "--config.learning_rate=0.1"
    )
    message = refusal(run_main, "--mode=eval", where, "--config.learning_rate=0.1")
    assert f"The run in {workdir} is not this config's:\n    learning_rate: 0.01 there" in message
    message = refusal(run_main, "--mode=eval", where, "--config=configs/mini.py:a_256")
    assert "width is 0.03125 there and 0.25 here" in message
    assert "Leave out these keys, and --config if it is given" in message
    message = refusal(run_main, "--mode=eval", where, "--config.batch_size=4")
    assert message.endswith("The batches of an evaluation have --config.eval.batch_px instead.")
    # The run's own flags may be given again.
    run_main("--mode=eval", *small_runs.one_epoch(folder, workdir))


def test_it_is_enough_in_another_folder_too(run_main, workdir, folder, tmp_path, monkeypatch):
    """The data's folder was given relative to the folder in which the run was started."""
    monkeypatch.chdir(folder.parent)
    config = run_config.load(workdir)
    config.data.dir = folder.name
    run_config.save(config, workdir)
    monkeypatch.chdir(tmp_path)
    run_main("--mode=eval", f"--workdir={workdir}")


def test_other_images_may_be_evaluated(run_main, workdir, capsys):
    run_main("--mode=eval", f"--workdir={workdir}", "--config.data.val_split=train")
    assert "on 17 images" in capsys.readouterr().out


def test_the_command_that_fuse_prints_makes_what_it_lacks(run_main, workdir, tmp_path, capsys):
    other = shutil.copytree(workdir, tmp_path / "other")

    def fuse():
        return small_runs.run_module("vgg_jax.fuse", workdir, other, "--scales=72")

    lacking = fuse()
    assert lacking.returncode == 2
    commands = [line.strip() for line in lacking.stderr.splitlines() if line.startswith("    ")]
    assert len(commands) == 2
    for command in commands:
        python, option, module, *arguments = shlex.split(command)
        assert (python, option, module) == ("python", "-m", "vgg_jax.main")
        run_main(*arguments)
    done = fuse()
    assert done.returncode == 0, done.stderr
    assert "run + other, dense, Q = 72: top-1 error" in done.stdout


@pytest.mark.parametrize("text", ['{"name": ', "[]", "{}", '{"net": 3}', '{"eval": 3}', "\0"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_damaged_config_is_named(run_main, workdir, mode, text):
    (workdir / "config.json").write_text(text)
    message = refusal(run_main, f"--mode={mode}", f"--workdir={workdir}")
    assert message.startswith(f"{workdir / 'config.json'} is damaged (")


def test_an_empty_workdir_flag_is_no_workdir(run_main, tmp_path, workdir, monkeypatch):
    """It doesn't mean the folder in which the command runs."""
    shutil.copy(workdir / "config.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert refusal(run_main, "--workdir=").startswith("Give --config=configs/NAME.py")


def test_the_flags_may_come_from_a_file(run_main, workdir, tmp_path, capsys):
    (tmp_path / "flags").write_text("--mode=eval\n")
    assert refusal(run_main, f"--flagfile={tmp_path / 'flags'}").startswith("Give --config=")
    run_main(f"--flagfile={tmp_path / 'flags'}", f"--workdir={workdir}")
    assert "both, Q = 73: top-1 error" in capsys.readouterr().out


def test_the_chain_of_a_run_that_never_began_is_its_own(run_main, workdir, tmp_path):
    """Its config.json says what it shares with the run that it starts from."""
    config = run_config.load(workdir)
    config.init_from = "mini_b_256"
    run_config.save(config, tmp_path / "begun")
    message = refusal(run_main, f"--workdir={tmp_path / 'begun'}")
    commands = [line.strip() for line in message.splitlines() if line.startswith("    ")]
    assert [shlex.split(line)[3] for line in commands] == [
        f"--config=configs/mini.py:{name}" for name in ("a_256", "b_256")
    ]
    for line in commands:
        assert f"--config.data.dir={config['data']['dir']}" in line
        assert "--config.width=0.03125" in line
