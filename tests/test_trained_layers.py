"""Training of some layers only: what it changes, and what it computes."""

import jax
import numpy as np
import pytest
from computed import num_products
from small_steps import NORMALISE, narrow_net, random_batch, run_steps

from vgg_jax.errors import UserError
from vgg_jax.nets import architectures, trained_layers
from vgg_jax.nets.vgg import init_params
from vgg_jax.runs.state import init_state
from vgg_jax.training import step
from vgg_jax.training.optimiser import sgd

CONVS = {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2"}
FCS = {"fc6", "fc7", "fc8"}
# The layers of net A that learn, and how many convolutions and matrix products the backward pass
# has: one for the kernel of each trained layer, and one for the input of each layer above the
# lowest of them.
CHOICES = {
    "all": (CONVS | FCS, 11 + 10),
    "fc": (FCS, 3 + 2),
    "conv5_,fc": ({"conv5_1", "conv5_2", *FCS}, 5 + 4),
    "conv4_2,fc7": ({"conv4_2", "fc7"}, 2 + 5),
    "fc8": ({"fc8"}, 1),
}


@pytest.fixture(scope="module")
def batch():
    return random_batch()


@pytest.fixture(scope="module")
def whole(batch):
    return run_steps(narrow_net(), batch, num_steps=1)[0].params


@pytest.mark.parametrize("choice", ["conv5_,fc", "conv4_2,fc7"])
def test_the_others_stay_as_they_are_to_the_bit(batch, whole, choice):
    """The L2 penalty leaves them alone too. The chosen layers learn as if all did."""
    before = init_params(narrow_net(), jax.random.key(0))
    state, _ = run_steps(narrow_net(), batch, num_steps=1, trained_layers=choice)
    for name, layer in state.params.items():
        for kind, value in layer.items():
            if name in CHOICES[choice][0]:
                np.testing.assert_allclose(value, whole[name][kind], atol=1e-7)
                assert np.any(value != before[name][kind])
            else:
                np.testing.assert_array_equal(value, before[name][kind])


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("choice", CHOICES)
def test_only_the_gradients_of_trained_layers_are_computed(batch, choice, remat):
    model, optimiser = narrow_net().clone(remat=remat), sgd(0.9, 5e-4, choice)
    recipe = step.Recipe(NORMALISE, seed=1, colour_shift=0.0, trained_layers=choice)
    train_step = step.make_train_step(model, optimiser, recipe)
    state = init_state(init_params(model, jax.random.key(0)), optimiser)
    forward = 8 + 3
    found = num_products(train_step, state, batch, np.float32(0.1)) - forward
    trained, backward = CHOICES[choice]
    # With remat, the blocks that have a backward pass compute their forward pass again.
    again = [name for name in CONVS if name[4] >= lowest_block(trained)]
    assert found == backward + (len(again) if remat else 0)


def lowest_block(layers):
    return min((name[4] for name in layers if name.startswith("conv")), default="6")


@pytest.mark.parametrize("net", ["A", "E"])
def test_prefixes_choose_layers(net):
    layers = architectures.layers(net)
    for choice, (trained, _) in CHOICES.items():
        trained_layers.check(choice, layers)
        if net == "A":
            names = {layer.name for layer in layers if layer.num_weights}
            found = {name for name in names if trained_layers.is_trained(name, choice)}
            assert found == trained


@pytest.mark.parametrize(
    ("choice", "prefix"),
    [("conv6", "conv6"), ("fc,conv1_2", "conv1_2"), ("fc,", ""), ("", ""), ("fc, fc8", " fc8"),
     ("all,fc", "all"), ("pool5", "pool5"), ("5_1", "5_1")],
)  # fmt: skip
def test_a_prefix_that_names_no_layer_is_refused_with_the_list(choice, prefix):
    with pytest.raises(UserError, match=f"'{prefix}' names none of conv1_1, conv2_1, .*, fc8"):
        trained_layers.check(choice, architectures.layers("A"))
