"""More epochs for a run than it was begun with. This module needs no JAX."""

from ml_collections import ConfigDict

from vgg_jax.counted import counted
from vgg_jax.errors import UserError
from vgg_jax.runs import run_config, run_result
from vgg_jax.storage.files import Path
from vgg_jax.training import schedules


def are_wanted(c: ConfigDict, workdir: Path) -> bool:
    """Returns whether a config has more epochs than the run in a workdir, which it may then have.

    A run that goes on this way equals one that had these epochs from its start.

    Raises:
      UserError: The rates of the run's schedule depend on the number of epochs, or its schedule has
        ended training already.
    """
    saved = run_config.load(workdir)
    if saved is None or c.num_epochs <= saved.num_epochs:
        return False
    more = saved.copy_and_resolve_references()
    more.num_epochs = c.num_epochs
    if schedules.from_config(more) != schedules.from_config(saved):  # Schedules are values.
        why = f"its schedule, {saved.schedule}, has planned {counted(saved.num_epochs, 'epochs')}"
    else:
        result = run_result.read(workdir)
        if result is None or not run_result.ended_by_schedule(result, saved.num_epochs):
            return True
        epoch = result["last"]["epoch"]
        why = f"its schedule, {saved.schedule}, ended training after epoch {epoch}"
    raise UserError(
        f"The run in {workdir} can't go on to num_epochs={c.num_epochs}: {why}. To train its net "
        f"further, start another run from it: --workdir=NEW --config.init_from={workdir} "
        "--config.init_layers=all, with a --config.learning_rate of its own."
    )
