"""The Python API in JAX: a net is a function of images, and a pytree."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from computed import num_products
from jax.sharding import PartitionSpec
from random_net import CLASSES, random_net

import vgg_jax
from vgg_jax.errors import UserError
from vgg_jax.evaluation import differentiable
from vgg_jax.nets import sharding

NAMES = ["relu1_1", "conv3_1", "pool5", "relu7", "fc8", "prob"]


@pytest.fixture(scope="module")
def net():
    return random_net()


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def assert_near(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_scores_are_the_average_of_the_score_map(net):
    images = pixels(2, 80, 130)
    found = net(images)
    assert (found.shape, found.dtype) == ((2, len(CLASSES)), jnp.float32)
    for row, image in zip(found, images, strict=True):
        assert_near(row, net.score_map(image, scale=80).mean((0, 1)))


def test_dense_posteriors_are_the_average_of_softmax_with_the_flips(net):
    images = pixels(3, 70, 101)
    both = (jax.nn.softmax(net(images)) + jax.nn.softmax(net(images[:, :, ::-1]))) / 2
    np.testing.assert_allclose(both, net.posteriors(list(images), scales=(70,)), atol=1e-5)


def test_features_are_the_models(net):
    images = pixels(2, 64, 97)
    found = net.features(images, NAMES)
    theirs = net.model.apply(
        {"params": net.params},
        net.inference.normalise(jnp.asarray(images)),
        NAMES,
        method="features",
    )
    assert found.keys() == {*NAMES}
    for name, values in found.items():
        assert values.dtype == jnp.float32
        assert_near(values, theirs[name])
    assert_near(found["fc8"].mean((1, 2)), net(images))
    assert_near(found["prob"], jax.nn.softmax(net(images)))


def test_features_come_in_the_order_of_their_names(net):
    names = ["relu2_1", "conv1_1", "prob", "pool1"]
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert list(net.features(images, names)) == names


def test_uint8_and_float_images_give_the_same(net):
    images = pixels(2, 64, 70)
    for dtype in (np.float32, np.float64, np.float16, jnp.bfloat16):
        same = images.astype(dtype)  # bfloat16 has 8 bits, enough for 0-255.
        np.testing.assert_array_equal(net(images), net(same))
        np.testing.assert_array_equal(net(jnp.asarray(images)), net(jnp.asarray(same)))


def test_the_gradient_in_an_image_is_that_of_finite_differences(net):
    images = jnp.asarray(pixels(1, 64, 64), jnp.float32)

    @jax.jit
    def loss(x):
        return jnp.log(jnp.square(net.features(x, ["relu3_2"])["relu3_2"]).mean())

    grad = jax.grad(loss)(images)
    # Along the gradient the difference is far above float32's rounding.
    step = grad / jnp.linalg.norm(grad)
    difference = (loss(images + step) - loss(images - step)) / 2
    np.testing.assert_allclose(difference, jnp.linalg.norm(grad), rtol=1e-2)


def test_gradients_in_the_parameters_are_a_net(net):
    images, labels = pixels(4, 64, 64), jnp.arange(4)

    def loss(net):
        return optax.softmax_cross_entropy_with_integer_labels(net(images), labels).mean()

    def loss_of_params(params):
        x = net.inference.normalise(jnp.asarray(images))
        scores = net.model.apply({"params": params}, x)[:, 0, 0]
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    value, grads = jax.jit(jax.value_and_grad(loss))(net)
    jax.tree.map(assert_near, grads.params, jax.jit(jax.grad(loss_of_params))(net.params))

    lower = optax.apply_updates(net, jax.tree.map(lambda g: -1e-3 * g, grads))
    assert loss(lower) < value
    # The tree that optax returned is a net in all else too: its posteriors are its own.
    found = lower.posteriors(list(images), scales=(64,))
    assert np.abs(found - net.posteriors(list(images), scales=(64,))).max() > 1e-5
    assert lower.digest() != net.digest()
    assert lower.class_names == net.class_names


def test_a_second_call_compiles_nothing(net):
    traces = []

    @jax.jit
    def scores(net, images):
        traces.append(1)
        return net(images)

    before = differentiable._logits._cache_size()
    first = scores(net, pixels(1, 64, 64))
    np.testing.assert_array_equal(scores(net, pixels(1, 64, 64)), first)
    net.posteriors([pixels(64, 64)])  # Its compiled programs are no part of the net's structure.
    scores(net, pixels(1, 64, 64, seed=1))
    scores(jax.tree.map(lambda x: 2 * x, net), pixels(1, 64, 64))
    scores(random_net(), pixels(1, 64, 64))  # It was loaded a second time.
    assert len(traces) == 1

    net(pixels(5, 64, 64))
    once = differentiable._logits._cache_size()
    net(pixels(5, 64, 64, seed=1))
    random_net()(pixels(5, 64, 64))
    assert differentiable._logits._cache_size() == once > before


def test_only_what_names_need_is_computed(net):
    images = pixels(1, 64, 64).astype(np.float32)

    def features(net, images, names):
        return net.features(images, names)

    def sums(images, net, names):
        return sum(value.sum() for value in features(net, images, names).values())

    for names, products in {
        ("relu3_2",): 4,
        ("conv3_1", "relu1_1"): 3,
        ("pool5",): 8,
        ("fc6",): 9,
        ("prob",): 11,
    }.items():
        assert num_products(functools.partial(features, names=names), net, images) == products
        grad = functools.partial(jax.grad(sums), names=names)
        assert num_products(grad, images, net) == 2 * products


def test_transformations_take_the_net_as_an_argument(net):
    images = pixels(3, 64, 64)
    expected = net(images)

    shape = jax.eval_shape(lambda net, x: net(x), net, images)
    assert (shape.shape, shape.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(jax.jit(lambda net, x: net(x))(net, images), expected, rtol=1e-5)
    each = jax.vmap(lambda net, x: net(x[None])[0], in_axes=(None, 0))(net, images)
    assert_near(each, expected)
    # Several nets, stacked, are an ensemble.
    several = jax.tree.map(lambda a, b: jnp.stack([a, b]), net, jax.tree.map(jnp.zeros_like, net))
    scores = jax.vmap(lambda net, x: net(x), in_axes=(0, None))(several, images)
    assert_near(scores[0], expected)
    assert not np.any(scores[1])
    leaves, structure = jax.tree.flatten(net)
    assert len(leaves) == len(jax.tree.leaves(net.params))
    assert hash(structure) == hash(jax.tree.structure(random_net()))
    assert structure == jax.tree.structure(random_net())


def test_shard_map_splits_the_images_over_devices():
    net, images = random_net(num_devices=8), pixels(16, 64, 64)
    split = PartitionSpec(("data", "model"))

    @jax.jit
    @functools.partial(
        jax.shard_map, mesh=net.inference.mesh, in_specs=(PartitionSpec(), split), out_specs=split
    )
    def scores(net, images):
        assert images.shape == (2, 64, 64, 3)
        return net(images)

    found = scores(net, images)
    assert {shard.data.shape for shard in found.addressable_shards} == {(2, len(CLASSES))}
    assert_near(found, random_net()(images))
    placed = jax.device_put(images, sharding.split_batch(net.inference.mesh))
    assert_near(net(placed), found)


def test_dropout_needs_a_key(net):
    images = np.repeat(pixels(1, 64, 64), 3, axis=0)
    plain = net(images)
    np.testing.assert_array_equal(net(images, dropout_key=jax.random.key(0)), plain)
    found = net(images, train=True, dropout_key=jax.random.key(0))
    again = net(images, train=True, dropout_key=jax.random.key(0))
    other = net(images, train=True, dropout_key=jax.random.key(1))
    np.testing.assert_array_equal(found, again)
    # The same image has other masks at each place of the batch, and with another key.
    different = {tuple(row) for row in np.asarray([*found, *other, plain[0]])}
    assert len(different) == 7
    with pytest.raises(UserError, match="train=True needs dropout_key"):
        net(images, train=True)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((64, 64, 3), np.uint8), r"uint8 of shape \(64, 64, 3\).*image\[None\]"),
        (np.zeros((1, 64, 64, 4), np.uint8), r"uint8 of shape \(1, 64, 64, 4\).*\(b, h, w, 3\)"),
        (np.zeros((1, 3, 64, 64), np.float32), r"float32 of shape \(1, 3, 64, 64\)"),
        (np.zeros((1, 64, 64, 3), np.int32), "are int32 .*uint8 or float"),
        (np.zeros((1, 64, 64, 3), bool), "are bool"),
        (np.zeros((1, 63, 64, 3), np.uint8), "63 x 64 px are smaller than the net's crop of 64 px"),
    ],
)
def test_other_images_are_refused(net, images, said):
    for call in (net, jax.jit(lambda x: net(x)), lambda x: net.features(x, ["conv1_1", "fc6"])):
        with pytest.raises(UserError, match=said):
            call(images)


def test_other_names_are_refused(net):
    with pytest.raises(UserError, match=r"no 'conv9_1'. It has conv1_1, relu1_1, .*, prob"):
        net.features(pixels(1, 64, 64), ["conv9_1"])
    with pytest.raises(UserError, match=r"a list: \['fc7'\], not 'fc7'"):
        net.features(pixels(1, 64, 64), "fc7")
    assert net.features(pixels(1, 64, 64), []) == {}


def test_it_is_shown_in_one_line(net):
    shown = "TrainedNet(net A, {:,} parameters, 4 classes, crop 64 px, float32, step 1)"
    assert repr(net) == shown.format(sum(leaf.size for leaf in jax.tree.leaves(net.params)))


def test_load_is_listed():
    assert "load" in dir(vgg_jax)


@pytest.mark.parametrize(
    ("low", "high", "says"), [(0, 1, "between 0 and 1"), (-2, 2.5, "between -2 and 2.5")]
)
def test_images_of_another_range_are_warned_of(net, low, high, says):
    images = np.linspace(low, high, 64 * 64 * 3, dtype=np.float32).reshape(1, 64, 64, 3)
    for computes in (net, functools.partial(net.features, names=["fc8"])):
        with pytest.warns(UserWarning, match=rf"{says}, but the net takes RGB of 0-255"):
            computes(images)


def test_an_array_on_a_device_is_looked_at_once_for_each_shape(net, monkeypatch):
    monkeypatch.setattr(differentiable, "_shapes_looked_at", set())
    images = jnp.linspace(0, 1, 64 * 64 * 3).reshape(1, 64, 64, 3)
    with pytest.warns(UserWarning, match="between 0 and 1"):
        net(images)
    with warnings.catch_warnings(action="error"):
        net(images)
    with pytest.warns(UserWarning, match="between 0 and 1"):
        net(jnp.concatenate([images, images]))


def test_a_transformed_function_may_hold_images(net, monkeypatch):
    monkeypatch.setattr(differentiable, "_shapes_looked_at", set())
    images = 255 * jax.random.uniform(jax.random.key(0), (1, 64, 64, 3))
    held = jax.jit(lambda: (net(images), net.features(images + 0, ["fc8"])["fc8"]))
    for found in held():
        assert_near(found.reshape(1, -1), net(images))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 255), (-20, 280), (3, 9)])
def test_images_of_0_to_255_are_not_warned_of(net, low, high):
    images = np.linspace(low, high, 64 * 64 * 3, dtype=np.float32).reshape(1, 64, 64, 3)
    net(images)
    jax.jit(net)(images / 255)  # Within a transformation the values aren't known.
