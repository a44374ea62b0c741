"""Ten-crop evaluation: the net is applied to crops of the corners and centre, and their flips.

Krizhevsky et al. 2012 tested nets in this way, which was usual before this paper. They cut the
crops out of the central square of an image. Here the crops come from the whole rescaled image, as
in multi-crop evaluation (§3.2).
"""

from vgg_jax.evaluation import crop_average

METHOD = crop_average.method(((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)))
