"""Reads what a run has saved, with Orbax alone."""

import jax
import orbax.checkpoint as ocp


def steps(workdir):
    """Returns the steps of the complete checkpoints, in order."""
    found = (workdir / "checkpoints").glob("*")
    return sorted(int(path.name) for path in found if path.name.isdigit())


def arrays(workdir, *items, step=None):
    """Returns items of a checkpoint, by default all arrays of the last one, on one device."""
    folder = workdir / "checkpoints" / str(steps(workdir)[-1] if step is None else step)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # It may be saved on several.
    restore = ocp.args.StandardRestore(fallback_sharding=here)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        return [
            checkpointer.restore(folder / item, args=restore)
            for item in items or ("params", "opt_state")
        ]
