"""A narrow net A with random parameters, as `vgg_jax.load` would return it."""

import jax
from ml_collections import FrozenConfigDict

from configs import mini
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.nets import from_config, sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import init_params

CLASSES = ("cat", "dog", "emu", "fox")


def random_net(num_devices=1):
    """Returns a net that tells images apart. Biases are drawn too: zeros would hide them."""
    c = mini.get_config("a_256")
    c.width = 1 / 32
    c.eval.scales = (64, 100)
    model = from_config.model(c, len(CLASSES))
    params = init_params(model, jax.random.key(0))
    params = jax.tree.map(
        lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), params
    )
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    inference = Inference(
        model=model,
        params=sharding.put_replicated(params, mesh),
        mesh=mesh,
        normalise=Normalise((120.0, 110.0, 100.0), 1 / 70),
    )
    return TrainedNet(inference, CLASSES, config=FrozenConfigDict(c), step=1)
