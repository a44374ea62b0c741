"""Ten-crop evaluation: the net is applied to the corners, the centre and their flips.

This is how Krizhevsky et al. 2012 tested nets, and the habit before this paper. They cut the crops
out of an image's central square; here they come from the whole rescaled image, as those of
multi-crop do (§3.2).
"""

from vgg_jax.evaluation import crop_average

METHOD = crop_average.method(((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)))
