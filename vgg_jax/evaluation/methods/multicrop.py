"""Multi-crop evaluation: the net is applied to a 5x5 grid of crops and their flips (§3.2)."""

import itertools

from vgg_jax.evaluation import crop_average

# The grid reaches from corner to corner. With the flips, an image gives 50 crops at one scale.
METHOD = crop_average.method(tuple(itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), repeat=2)))
