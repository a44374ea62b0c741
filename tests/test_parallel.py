"""Training and validation steps on meshes of devices equal those on one device."""

import math

import jax
import numpy as np
import pytest
from small_steps import BATCH, NORMALISE, compiled, narrow_net, random_batch, run_steps

from vgg_jax.analysis import traffic
from vgg_jax.nets import compiler_options, sharding
from vgg_jax.nets.vgg import init_params
from vgg_jax.runs.state import abstract_state, init_state
from vgg_jax.training import parallel, step
from vgg_jax.training.optimiser import sgd


@pytest.fixture(scope="module")
def model():
    return narrow_net()


@pytest.fixture(scope="module")
def batch():
    return random_batch()


def assert_equal(ours, theirs, tolerance):
    """Checks that (state, losses) agree."""
    np.testing.assert_allclose(ours[1], theirs[1], rtol=tolerance)
    for a, b in zip(jax.tree.leaves(ours[0]), jax.tree.leaves(theirs[0]), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.fixture(scope="module")
def single(model, batch):
    with jax.default_matmul_precision("highest"):
        return run_steps(model, batch)


@pytest.mark.parametrize(
    ("mesh", "micro_batches"),
    [((8, 1), 1), ((1, 1), 4), ((8, 1), 2), ((2, 4), 2), ((1, 8), 4)],
)
def test_devices_and_micro_batches_agree_with_dropout_and_colour_shift(
    model, batch, single, mesh, micro_batches
):
    with jax.default_matmul_precision("highest"):
        ours = run_steps(model, batch, mesh, micro_batches=micro_batches)
    assert_equal(ours, single, 1e-6)
    for leaf in jax.tree.leaves(ours[0].params):
        assert len(leaf.sharding.device_set) == math.prod(mesh)


@pytest.fixture(scope="module")
def single_for_20_steps(model, batch):
    with jax.default_matmul_precision("highest"):
        return run_steps(model, batch, num_steps=20, rate=0.02)


@pytest.mark.parametrize("mesh", [(8, 1), (2, 4), (1, 8)])
def test_meshes_equal_one_device_over_20_steps(model, batch, single_for_20_steps, mesh):
    with jax.default_matmul_precision("highest"):
        ours = run_steps(model, batch, mesh, num_steps=20, rate=0.02)
    assert_equal(ours, single_for_20_steps, 1e-5)
    assert ours[1][-1] < 0.9 * ours[1][0]  # It has learnt something.
    for tree in (ours[0].params, ours[0].opt_state[-1].trace):
        parts = {
            name: layer["kernel"].addressable_shards[0].data.size for name, layer in tree.items()
        }
        for name, size in parts.items():
            shared_by = mesh[1] if name.startswith("fc") else 1
            assert size * shared_by == tree[name]["kernel"].size


@pytest.mark.parametrize("setting", [{"trained_layers": "fc"}, {"remat": True}, {"classes": 101}])
def test_a_mesh_equals_one_device_in_other_settings(model, batch, setting):
    """101 classes don't divide over the devices."""
    remat, classes = setting.pop("remat", False), setting.pop("classes", 7)
    model = model.clone(remat=remat, num_classes=classes)
    with jax.default_matmul_precision("highest"):
        assert_equal(
            run_steps(model, batch, (2, 4), **setting), run_steps(model, batch, **setting), 1e-6
        )


@pytest.mark.parametrize("mesh", [(8, 1), (2, 4)])
def test_validation_agrees(model, batch, mesh):
    """The parameters are sharded as in training."""
    mesh = sharding.make_mesh(jax.devices(), model_parallel=mesh[1])
    state = init_state(init_params(model, jax.random.key(0)), sgd(0.9, 0.0))
    batch = {**batch, "weight": (np.arange(BATCH) < 27).astype(np.float32)}
    expected = jax.jit(step.make_val_step(model, NORMALISE))(state.params, batch)
    metrics = parallel.val_step(model, mesh, NORMALISE)(
        sharding.put_state(state, mesh).params,
        sharding.put_batch(batch, sharding.split_batch(mesh)),
    )
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6)


def test_ynnpack_computes_no_convolution_of_the_step_on_cpus():
    """YNNPACK's gradients of kernels are slow. By default it computes those of 32 channels."""
    model, optimiser, mesh = narrow_net().clone(width=0.5), sgd(0.9, 5e-4), sharding.make_mesh()
    shapes = (
        abstract_state(model, optimiser, mesh),
        {
            "image": jax.ShapeDtypeStruct((BATCH, 32, 32, 3), np.uint8),
            "label": jax.ShapeDtypeStruct((BATCH,), np.int32),
        },
        np.float32(1),
    )
    train_step = compiled(model, optimiser, mesh)
    assert not _convolutions_by_ynnpack(train_step.lower(*shapes))
    assert _convolutions_by_ynnpack(jax.jit(train_step.__wrapped__).lower(*shapes))


def _convolutions_by_ynnpack(lowered):
    # XLA's own loops are fusions too, in which some machines get small convolutions.
    lines = lowered.compile().as_text().splitlines()
    return sum('"__ynn_fusion"' in line and "conv_general_dilated" in line for line in lines)


@pytest.mark.parametrize("options", compiler_options.BY_PLATFORM.values())
def test_xla_knows_the_options_of_all_platforms(options):
    compiled = jax.jit(lambda x: x @ x, compiler_options=options)
    np.testing.assert_array_equal(compiled(np.eye(2, dtype=np.float32)), np.eye(2))
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        jax.jit(lambda x: x, compiler_options={f"{name}_": 1 for name in options})(1.0)


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_micro_batches_move_no_image_between_devices(model, micro_batches):
    """Each device splits its own shard of the batch into micro-batches."""
    optimiser, mesh = sgd(0.9, 5e-4), sharding.make_mesh()
    images = jax.ShapeDtypeStruct((BATCH, 32, 32, 3), np.uint8)
    labels = jax.ShapeDtypeStruct((BATCH,), np.int32)
    lowered = compiled(model, optimiser, mesh, micro_batches).lower(
        abstract_state(model, optimiser, mesh),
        {"image": images, "label": labels},
        np.float32(1),
    )
    kinds = {one.kind for one in traffic.collectives(lowered.compile().as_text())}
    assert kinds == {"all-reduce"}
