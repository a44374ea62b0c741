"""What devices exchange, in small compiled programs and, by closed forms, in training steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vgg_jax.analysis import traffic, traffic_table
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.nets import sharding

SPEC = NetSpec("A", num_classes=101, width=1 / 16, crop_px=64)


def exchanged(function, *arguments, split, out, model_parallel=4):
    """Compiles a function for a mesh of 8 devices and returns its collectives."""
    mesh = sharding.make_mesh(jax.devices(), model_parallel=model_parallel)
    compiled = jax.jit(
        function,
        in_shardings=tuple(NamedSharding(mesh, PartitionSpec(*axes)) for axes in split),
        out_shardings=NamedSharding(mesh, PartitionSpec(*out)),
    )
    return traffic.collectives(compiled.lower(*arguments).compile().as_text())


ROWS = ((0, 1, 2, 3), (4, 5, 6, 7))
COLUMNS = ((0, 4), (1, 5), (2, 6), (3, 7))
X = jax.ShapeDtypeStruct((16, 24), jnp.float32)


@pytest.mark.parametrize(
    ("axis", "groups"), [("model", ROWS), ("data", COLUMNS), (("data", "model"), None)]
)
def test_a_sum_along_an_axis(axis, groups):
    (one,) = exchanged(lambda x: x.sum(0), X, split=[(axis,)], out=())
    assert (one.kind, one.shape, one.num_bytes, one.times) == ("all-reduce", "f32[24]", 96, 1)
    assert {*map(frozenset, one.groups)} == {*map(frozenset, groups or [range(8)])}
    n = len(one.groups[0])
    assert one.sent_bytes == 2 * (n - 1) / n * 96
    assert "reduce_sum" in one.op_name


def test_a_gathering_counts_the_whole_array():
    (one,) = exchanged(lambda x: 2 * x, X, split=[("data", "model")], out=("data",))
    assert (one.kind, one.shape) == ("all-gather", "f32[8,6]")
    assert (one.num_bytes, one.sent_bytes) == (8 * 24 * 4, 3 / 4 * 8 * 24 * 4)
    assert one.groups == ROWS


def test_a_move_from_one_axis_of_an_array_to_another():
    (one,) = exchanged(lambda x: 2 * x, X, split=[(None, "model")], out=("model",))
    assert one.kind == "all-to-all"
    assert (one.num_bytes, one.sent_bytes) == (16 * 6 * 4, 3 / 4 * 16 * 6 * 4)


def test_a_rotation():
    mesh = sharding.make_mesh(jax.devices(), model_parallel=8)
    rotated = jax.shard_map(
        lambda x: jax.lax.ppermute(x, "model", [(i, (i + 1) % 8) for i in range(8)]),
        mesh=mesh,
        in_specs=PartitionSpec("model"),
        out_specs=PartitionSpec("model"),
    )
    (one,) = traffic.collectives(jax.jit(rotated).lower(X).compile().as_text())
    assert (one.kind, one.num_bytes) == ("collective-permute", 2 * 24 * 4)
    assert one.sent_bytes == one.num_bytes


def test_a_scattered_sum():
    mesh = sharding.make_mesh(jax.devices(), model_parallel=4)
    scattered = jax.shard_map(
        lambda x: jax.lax.psum_scatter(x, "model", scatter_dimension=1, tiled=True),
        mesh=mesh,
        in_specs=PartitionSpec("model"),
        out_specs=PartitionSpec(None, "model"),
    )
    (one,) = traffic.collectives(jax.jit(scattered).lower(X).compile().as_text())
    assert (one.kind, one.num_bytes) == ("reduce-scatter", 4 * 24 * 4)
    assert one.sent_bytes == 3 / 4 * one.num_bytes


def test_a_loop_counts_as_often_as_it_runs():
    def function(x):
        def body(total, _):
            return jnp.cos(total @ total.T @ total), None

        return jax.lax.scan(body, x, length=7)[0]

    found = exchanged(function, X, split=[(None, "model")], out=(None, "model"))
    assert [(one.kind, one.num_bytes, one.times) for one in found] == [("all-reduce", 1024, 7)]


def test_a_loop_of_unknown_length_is_refused():
    def function(x):
        return jax.lax.while_loop(lambda x: x.sum() > 1, lambda x: x @ x.T @ x / 9, x)

    with pytest.raises(ValueError, match="loop of unknown length"):
        exchanged(function, X, split=[(None, "model")], out=(None, "model"))


def test_operations_that_are_started_and_ended_apart():
    """XLA for GPUs writes them so, with the inputs of all-gather among its results."""
    text = """HloModule step, num_partitions=4

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %added = f32[] add(%x, %y)
}

ENTRY %main (a: f32[2,3]) -> f32[8,3] {
  %a = f32[2,3]{1,0} parameter(0)
  %b = bf16[5]{0} parameter(1)
  %sum = (f32[2,3]{1,0}, bf16[5]{0}) all-reduce-start(%a, %b), replica_groups={}, to_apply=%add, \
metadata={op_name="step/(fc6/dot:fc7/dot)"}
  %summed = (f32[2,3]{1,0}, bf16[5]{0}) all-reduce-done(%sum)
  %start = (f32[2,3]{1,0}, f32[8,3]{1,0}) all-gather-start(%a), replica_groups={{0,1,2,3}}
  ROOT %done = f32[8,3]{1,0} all-gather-done(%start)
}
"""
    found = traffic.collectives(text)
    assert [(one.kind, one.op_name, one.num_bytes) for one in found] == [
        ("all-reduce", "step/fc6/dot", 24),
        ("all-reduce", "step/fc7/dot", 10),
        ("all-gather", "", 96),
    ]
    assert all(one.groups == ((0, 1, 2, 3),) for one in found)


def by_name(*mesh, **more):
    """Returns {(what, operation): (number of arrays, MB)} of a table."""
    lines = traffic_table.table(SPEC, StepSpec(64, **more), *mesh).splitlines()
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in lines[4:]]
    cells = cells[: next(i for i, row in enumerate(cells) if row[0].startswith("-"))]
    result = {}
    for what, kind, _, arrays, megabytes, _ in cells:
        before = result.get((what, kind), (0, 0.0))
        result[what, kind] = before[0] + int(arrays), before[1] + float(megabytes)
    return result


@pytest.mark.parametrize("mesh", [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_a_training_step_exchanges_what_its_layers_say(mesh):
    data, model_parallel = mesh
    layers = {layer.name: layer for layer in SPEC.layers()}
    rows = by_name(*mesh)
    expected = {
        "gradients of convolutions": sum(
            layer.num_weights for layer in layers.values() if layer.kind == "conv"
        )
    }
    biases = sum(layer.features for layer in layers.values() if layer.num_weights)
    shared = layers["fc6"].features + layers["fc7"].features
    if data > 1:
        for name in ("fc6", "fc7", "fc8"):
            expected[f"gradient of {name}'s kernel"] = layers[name].num_weights / model_parallel
        expected["gradients of biases"] = biases - shared + shared / model_parallel
    else:
        expected["gradients of biases"] = biases - shared
    inputs = layers["fc6"].kernel_px ** 2 * layers["fc6"].features_in + layers["fc7"].features_in
    for what, values in expected.items():
        assert rows[what, "all-reduce"][1] == pytest.approx(4 * values / 1e6, abs=2e-3), what
    assert (("gradient of fc6's kernel", "all-reduce") in rows) == (data > 1)
    if model_parallel > 1:
        gathered = 64 / data * inputs * 4 / 1e6
        assert rows["activations", "all-gather"][1] == pytest.approx(gathered, abs=2e-3)
        assert rows["gradients of activations", "all-reduce"][1] == pytest.approx(
            gathered, abs=2e-3
        )
        scores = 64 / data * 101 * 4 / 1e6
        assert rows["activations", "all-reduce"][1] == pytest.approx(scores, abs=2e-3)
    else:
        assert not any("activations" in what for what, _ in rows)


def test_micro_batches_exchange_each_part_of_the_batch():
    whole, parts = by_name(1, 8), by_name(1, 8, micro_batches=4)
    for key in [("activations", "all-gather"), ("gradients of activations", "all-reduce")]:
        assert parts[key][0] == 4 * whole[key][0]
        assert parts[key][1] == pytest.approx(whole[key][1], abs=2e-3)


def test_a_device_alone_exchanges_nothing():
    text = traffic_table.table(SPEC, StepSpec(2), 1, 1)
    assert text.splitlines()[5].split() == ["sum", "0", "0.000", "0.000"]


def test_each_device_holds_its_part_of_the_state():
    text = traffic_table.table(SPEC, StepSpec(8), 1, 8)
    layers = SPEC.layers()
    whole = sum(layer.num_parameters for layer in layers if layer.kind == "conv") + 101
    shared = sum(layer.num_parameters for layer in layers if layer.kind == "fc") - 101
    megabytes = (8 * (whole + shared / 8) + 4) / 1e6
    assert f"momentum take {megabytes:,.1f} MB" in text
    assert np.isclose(megabytes, float(text.split("momentum take ")[1].split()[0]), atol=0.1)
