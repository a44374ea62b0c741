"""Multi-crop evaluation: the net is applied to a 5x5 grid of crops and their flips (§3.2)."""

import itertools

from vgg_jax.evaluation import crop_average

# From corner to corner, so that an image at one scale gives 50 crops.
METHOD = crop_average.method(tuple(itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), repeat=2)))
