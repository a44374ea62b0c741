"""Operations on pixels on the device: colour shift and mean subtraction (§2.1, §3.1).

The host rescales, crops and flips images: see `vgg_jax.data.images`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

# The principal components of RGB in [0, 1] over ImageNet, as widely used for the colour shift of
# Krizhevsky et al. 2012: their standard deviations, and the eigenvectors as columns, in which the
# rows are R, G and B.
RGB_STANDARD_DEVIATIONS = (0.2175, 0.0188, 0.0045)
RGB_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def colour_shift(
    images: Float[Array, "b h w 3"], keys: Key[Array, " b"], sigma: float
) -> Float[Array, "b h w 3"]:
    """Adds one random RGB shift to all pixels of each image (§3.1, Krizhevsky et al. 2012).

    The shift is [p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T with a ~ N(0, sigma^2), p the eigenvectors and l
    the standard deviations above.

    Args:
      images: RGB, 0-255.
      keys: One key per example.
      sigma: Standard deviation of a; 0.1 in the paper.
    """
    a = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys) * sigma
    # The factor of 255 is for pixels of 0-255.
    components = 255.0 * np.asarray(RGB_EIGENVECTORS) * np.asarray(RGB_STANDARD_DEVIATIONS)
    shift = jnp.matmul(a, components.T.astype(np.float32), precision="highest")
    return images + shift[:, None, None, :]


@dataclasses.dataclass(frozen=True)
class Normalise:
    """Subtracts the training set's mean RGB (§2.1) and multiplies by the input scale.

    Attributes:
      mean_rgb: The mean of R, G and B over the training set, 0-255.
      input_scale: The factor on the mean-subtracted RGB; 1 in the paper. A net is the same function
        if conv1_1's kernel absorbs it, but that kernel then learns at another rate.
    """

    mean_rgb: tuple[float, float, float]
    input_scale: float

    def __call__(
        self, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]
    ) -> Float[Array, "b h w 3"]:
        """Converts RGB of 0-255 to the input of the net."""
        mean_rgb = np.asarray(self.mean_rgb, np.float32)
        return (images.astype(jnp.float32) - mean_rgb[None, None, None]) * self.input_scale


def example_keys(
    seed: int, step: Int[Array, ""] | int, batch_size: int
) -> Key[Array, " batch_size"]:
    """Derives a key for each example from (seed, step, place in the global batch).

    An example then draws the same values on one device or eight, in a new run or a resumed one.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch_size))
