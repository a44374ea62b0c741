"""More epochs for a run: allowed where the run then equals one that had them from its start."""

import shutil

import pytest
import small_runs

from vgg_jax import base_config
from vgg_jax.errors import UserError
from vgg_jax.runs import run_config, run_result
from vgg_jax.training import more_epochs


def saved_and_wanted(workdir, num_epochs, last_epoch=None, ended_by_schedule=False, **more):
    """Saves a run of 10 epochs, and returns its config with another number of epochs."""
    c = base_config.get_config()
    c.update(num_epochs=10, **more)
    run_config.save(c, workdir)
    if last_epoch is not None:
        last = {"step": 7, "epoch": last_epoch, "num_images": 9}
        last |= {"top1_error": 1.0, "top5_error": 0.0}
        result = {"last": last, "best": last, "ended_by_schedule": ended_by_schedule}
        run_result.write(workdir, result)
    c.num_epochs = num_epochs
    return c


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
@pytest.mark.parametrize("last_epoch", [None, 10])
def test_more_epochs_are_allowed(tmp_path, schedule, last_epoch):
    c = saved_and_wanted(tmp_path, 11, last_epoch, schedule=schedule)
    assert more_epochs.are_wanted(c, tmp_path)


@pytest.mark.parametrize("num_epochs", [9, 10])
def test_no_more_epochs_are_no_question_here(tmp_path, num_epochs):
    assert not more_epochs.are_wanted(saved_and_wanted(tmp_path, num_epochs, 10), tmp_path)


def test_fewer_epochs_are_another_run(tmp_path):
    c = saved_and_wanted(tmp_path, 9)
    with pytest.raises(UserError, match=r"num_epochs: 10 there, 9 now\n.*--config\.init_from="):
        run_config.refuse_other_run(c, tmp_path)


def test_a_cosine_has_planned_its_epochs(tmp_path):
    c = saved_and_wanted(tmp_path, 11, schedule="cosine")
    with pytest.raises(UserError, match=r"cosine, has planned 10 epochs.*init_from="):
        more_epochs.are_wanted(c, tmp_path)


@pytest.mark.parametrize(("last_epoch", "ended"), [(8, True), (10, True), (8, False)])
def test_a_plateau_that_ended_training_stays_the_end(tmp_path, last_epoch, ended):
    c = saved_and_wanted(tmp_path, 11, last_epoch, ended)
    why = rf"plateau, ended training after epoch {last_epoch}\. .*init_from="
    with pytest.raises(UserError, match=why):
        more_epochs.are_wanted(c, tmp_path)


@pytest.mark.runs
def test_the_command_goes_on_with_a_finished_run_by_its_workdir_alone(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    done = small_runs.run_process(
        f"--workdir={workdir}", "--config.num_epochs=2", "--config.eval.method=none"
    )
    assert done.returncode == 0, done.stderr
    assert "goes on at step 2" in done.stdout
    assert "after 2 epochs" in done.stdout
