"""The parameters that a run starts from."""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from vgg_jax.errors import UserError
from vgg_jax.nets import from_config, sharding
from vgg_jax.nets.preinitialisation import preinitialise
from vgg_jax.nets.vgg import VGG, Params, init_params
from vgg_jax.runs import chain, run_config
from vgg_jax.runs.checkpoint_errors import until_not_pruned
from vgg_jax.runs.checkpoints import Checkpoints
from vgg_jax.runs.facts import RunFacts
from vgg_jax.storage.files import Path


def first_params(
    c: ConfigDict,
    workdir: Path,
    model: VGG,
    class_names: Sequence[str],
    mesh: jax.sharding.Mesh,
) -> Params:
    """Draws a run's first parameters, or takes them from the run that it starts from (§3.1).

    Args:
      c: The run's config.
      workdir: The run's workdir. The workdir of `init_from` may lie next to it.
      model: The net.
      class_names: The classes of the data set.
      mesh: The devices on which the other run's parameters are placed.

    Raises:
      UserError: The other run has no checkpoint, or FC8 is taken from it and its classes differ.
    """
    source = chain.resolve(c.init_from, workdir)
    if source is None:
        return _drawn(model, c.seed)
    theirs, their_names, their_model = until_not_pruned(lambda: _of_run(source, mesh))
    if c.init_layers == "all_but_fc8":
        taken = {name: layer for name, layer in theirs.items() if name != "fc8"}
        return {**_drawn(model, c.seed), **taken}
    if list(class_names) != list(their_names):
        remedy = "Set --config.init_layers=all_but_fc8 to start with a new FC8"
        if their_model.net != model.net:
            remedy = (
                f"First train their net {their_model.net} on these classes, in another --workdir "
                f"with --config.net={their_model.net} --config.init_layers=all_but_fc8, and then "
                "start from that run"
            )
        raise UserError(
            f"This run starts from {source}, whose {len(their_names)} classes are not the "
            f"{len(class_names)} of this data set. {remedy}, or start from a run on the same "
            "classes."
        )
    return theirs if c.init_layers == "all" else preinitialise(_drawn(model, c.seed), theirs)


def _of_run(source: Path, mesh: jax.sharding.Mesh) -> tuple[Params, tuple[str, ...], VGG]:
    with contextlib.closing(Checkpoints(source, read_only=True)) as checkpoints:
        step = checkpoints.step_of("last")
        facts = checkpoints.restore_run(step).facts
        model = from_config.model(run_config.existing(source), len(facts.class_names))
        params = checkpoints.restore_params(abstract_params(model, mesh, facts), step)
    return params, facts.class_names, model


def _drawn(model: VGG, seed: int) -> Params:
    return init_params(model, jax.random.key(seed))


def abstract_params(model: VGG, mesh: jax.sharding.Mesh, facts: RunFacts) -> Any:
    """Describes the parameters of a run's checkpoint, to be read onto every device.

    Args:
      model: The net.
      mesh: The devices.
      facts: The facts of the run; an imported net without FC layers has no classes.
    """
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    if not facts.class_names:
        shapes = {name: layer for name, layer in shapes.items() if not name.startswith("fc")}
    place = sharding.replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes
    )
