"""The nets of Table 1 as one linen module, and their initialisation."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32, Int, Key

from vgg_jax.errors import UserError
from vgg_jax.nets import architectures, layers
from vgg_jax.nets.settings import Init, OddEdges

Params = Mapping[str, Mapping[str, Array]]
Initialiser = Callable[[Key[Array, ""], tuple[int, ...], Any], Array]
Split = Literal["examples", "features"]
Place = Callable[[Array, Split], Array]


def kernel_initialiser(init: Init, sigma: float) -> Initialiser:
    """Returns the initialiser of the kernels. Biases always start at zero (§3.1).

    Args:
      init: "normal" is the paper's, N(0, sigma^2). "glorot" is the uniform one of Glorot & Bengio
        2010, with which, as §3.1 adds, nets can be trained without pre-training. "he" is
        N(0, 2 / fan_in) of He et al. 2015.
      sigma: Standard deviation of "normal". The paper's variance of 1e-2 is a sigma of 0.1.

    Raises:
      ValueError: `init` is none of these.
    """
    if init == "normal":
        return nn.initializers.normal(sigma)
    if init == "glorot":
        return nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
    if init == "he":
        return nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    raise ValueError(f"Unknown initialisation {init!r}. Choose normal, glorot or he.")


def _anywhere(x: Array, split: Split) -> Array:
    del split
    return x


class Conv(nn.Module):
    """A convolution that returns its bias instead of adding it: see `VGG._apply`."""

    features: int
    kernel_px: int
    padding: Literal["SAME", "VALID"]
    kernel_init: Initialiser
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"]
    ) -> tuple[Float[Array, "b h2 w2 o"], Float[Array, "1 1 1 o"]]:
        """Returns the convolution's sums without the bias, and the bias."""
        shape = (self.kernel_px, self.kernel_px, x.shape[-1], self.features)
        kernel = self.param("kernel", self._draw, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        return layers.conv(x, kernel, self.padding), bias[None, None, None]

    def _draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "k k i o"]:
        if self.padding == "VALID":
            # An FC kernel is drawn as a matrix. For a convolution, Glorot's rule would multiply the
            # number of outputs by the kernel's area, and draw FC6 2.8 times too small.
            matrix = (math.prod(shape[:-1]), shape[-1])
            return self.kernel_init(key, matrix, jnp.float32).reshape(shape)
        return self.kernel_init(key, shape, jnp.float32)


class VGG(nn.Module):
    """A net of Table 1, which is fully convolutional in training too (§3.2).

    The same parameters are applied to crops and to whole images: the class score map of a training
    crop has one cell, that of a larger image one cell per 32 px.

    Attributes:
      net: One of `architectures.NETS`.
      num_classes: Outputs of FC8.
      width: Factor on the number of output channels of every layer except FC8.
      crop_px: Side of the training crop in px, a multiple of 32. FC6's kernel covers
        crop_px / 32 cells.
      dropout: Dropout rate after FC6 and FC7 (§3.1).
      kernel_init, sigma: See `kernel_initialiser`.
      dtype: The dtype of the arithmetic, bfloat16 or float32. Parameters and scores are float32.
      remat: Whether the backward pass computes each block's activations again instead of keeping
        them. This gives the same values with a little less memory (see
        `vgg_jax.analysis.memory`) and a third more arithmetic.
      pooling: "floor" leaves out an odd last row or column; "ceil" pools it alone, as Caffe does.
        The paper doesn't say which it uses. For crops both are the same.
      place: Fixes how FC6's input and the dropout keys ("examples"), and FC6's and FC7's outputs
        ("features"), are split over a mesh: see `sharding.fc_place`.
    """

    net: str
    num_classes: int = 1000
    width: float = 1.0
    crop_px: int = 224
    dropout: float = 0.5
    kernel_init: Init = "he"
    sigma: float = 0.1
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    pooling: OddEdges = "floor"
    place: Place = _anywhere

    @property
    def architecture(self) -> tuple[architectures.Layer, ...]:
        """The rows of Table 1 that make up this net."""
        return architectures.layers(
            self.net, num_classes=self.num_classes, width=self.width, crop_px=self.crop_px
        )

    def setup(self) -> None:
        """Makes a `Conv` for each layer with a kernel, as an attribute of the layer's name."""
        for layer in self.architecture:
            if layer.num_weights:
                conv = Conv(
                    features=layer.features,
                    kernel_px=layer.kernel_px,
                    padding="VALID" if layer.kind == "fc" else "SAME",
                    kernel_init=kernel_initialiser(self.kernel_init, self.sigma),
                    # Scores with bfloat16's 8 bits would tie, and would be rounded in the loss.
                    dtype=jnp.float32 if layer.name == "fc8" else self.dtype,
                )
                setattr(self, layer.name, conv)

    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        dropout_keys: Key[Array, " b"] | None = None,
        sizes: Int[Array, "b 2"] | None = None,
    ) -> Float[Array, "b h2 w2 k"]:
        """Computes class score maps.

        A batch can hold images of different sizes. Each then lies in the upper left corner of its
        place, and `sizes` says how large it is. What a convolution reads outside it is zeroed, as
        if the image ended there, so that the first `score_cells` of its map are the same as if it
        were alone.

        Args:
          images: Mean-subtracted RGB times the input scale (`pixels.Normalise`), at least
            crop_px on both sides.
          dropout_keys: One key per example for training; None for evaluation, without dropout.
          sizes: Height and width of each image in px, at least crop_px; None if all fill their
            places.

        Returns:
          Unnormalised class score maps, as large as `score_cells` of (h, w).

        Raises:
          UserError: The images are smaller than the crop.
        """
        self._check_size(images, self.architecture)
        if dropout_keys is not None:
            dropout_keys = self.place(dropout_keys, "examples")
        x, bias, block = images, None, []
        for layer in self.architecture:
            block.append(layer)
            if layer.kind == "pool":
                apply = functools.partial(VGG._apply, block=tuple(block))
                x, bias = (nn.remat(apply) if self.remat else apply)(self, x, bias, sizes)
                sizes = None if sizes is None else self._pooled(sizes, 2)
                block = []
        x, bias = self._apply(x, bias, sizes, block, dropout_keys)
        return x + bias

    def features(
        self,
        images: Float[Array, "b h w 3"],
        names: Sequence[str],
        sizes: Int[Array, "b 2"] | None = None,
    ) -> dict[str, Float32[Array, "b ..."]]:
        """Computes named features of images without dropout, and no layer that they don't need.

        Call it by `model.apply({"params": params}, images, names, method="features")`.

        Args:
          images: Mean-subtracted RGB times the input scale (`pixels.Normalise`). If a name is fc6
            or a later one, each side is at least crop_px. Otherwise it is at least 2^n px for n
            poolings on the way to the last of the names, and of any size if `pooling` is "ceil".
          names: Names of the authors' release. conv3_1 is before ReLU, relu3_1 after it, norm1
            after LRN and pool3 after pooling. fc6 and fc7 are before ReLU, relu6 and relu7 after
            it. fc8 is the class score map, and prob the softmax of its average (§3.2).
          sizes: See `__call__`. The first `feature_cells` of each map are then the same as if the
            image were alone. prob has no cells, and needs images that fill their places.

        Returns:
          The features by name, in float32: (b, k) for prob, (b, h2, w2, c) for the others. Values
          after ReLU, LRN or pooling are rounded to `dtype`, as the next layer takes them.

        Raises:
          UserError: The net has no feature of a given name, the names are one string, or the
            images are too small.
        """
        net = architectures.up_to(self.architecture, names)
        self._check_size(images, net)
        x, bias, values = images, None, {}
        for layer in net:
            x, bias = self._apply(x, bias, sizes, [layer])
            if layer.kind == "pool" and sizes is not None:
                sizes = self._pooled(sizes, 2)
            for name in set(names).intersection(layer.feature_names):
                values[name] = self._feature(name, x, bias).astype(jnp.float32)
        return {name: values[name] for name in names}

    def _feature(
        self, name: str, x: Float[Array, "b h w c"], bias: Float[Array, "1 1 1 c"] | None
    ) -> Float[Array, "b ..."]:
        if name.startswith(("conv", "fc")):
            return x + bias
        if name == "prob":
            return jax.nn.softmax((x + bias).mean(axis=(1, 2)))
        return self._with_relu(x, bias)

    def _check_size(
        self, images: Float[Array, "b h w 3"], net: Sequence[architectures.Layer]
    ) -> None:
        height, width = images.shape[1:3]
        least_px = self._least_px(net)
        # min() of both would fail in an export, where the sizes are symbols.
        if height < least_px or width < least_px:
            num_poolings = sum(layer.kind == "pool" for layer in net)
            what = f"the {least_px} px that {num_poolings} poolings need"
            if any(layer.kind == "fc" for layer in net):
                what = f"the net's crop of {self.crop_px} px"
            raise UserError(f"Images of {height} x {width} px are smaller than {what}.")

    def least_px(self, names: Sequence[str]) -> int:
        """Returns the least side, in px, of images for which `features` computes these names.

        Raises:
          UserError: The net has no feature of a given name.
        """
        return self._least_px(architectures.up_to(self.architecture, names))

    def _least_px(self, net: Sequence[architectures.Layer]) -> int:
        if any(layer.kind == "fc" for layer in net):
            return self.crop_px
        num_poolings = sum(layer.kind == "pool" for layer in net)
        return 2**num_poolings if self.pooling == "floor" else 1

    def feature_cells(
        self, name: str, sizes: Int[Array | np.ndarray, "*b 2"]
    ) -> Int[Array | np.ndarray, "*b 2"]:
        """Returns the heights and widths, in cells, of a named feature of images.

        Each pooling on the way halves the sides, and `pooling` says how odd ones are rounded.
        FC6 takes its kernel's side less one.

        Args:
          name: See `features`, except for prob, which is no map.
          sizes: Heights and widths of the images in px, a NumPy or JAX array.

        Raises:
          UserError: The net has no feature of that name.
        """
        net = architectures.up_to(self.architecture, [name])
        cells = self._pooled(sizes, 2 ** sum(layer.kind == "pool" for layer in net))
        return cells - sum(layer.kernel_px - 1 for layer in net if layer.kind == "fc")

    def score_cells(
        self, sizes: Int[Array | np.ndarray, "*b 2"]
    ) -> Int[Array | np.ndarray, "*b 2"]:
        """Returns the heights and widths, in cells, of the class score maps of images (§3.2).

        Args:
          sizes: Heights and widths of the images in px, a NumPy or JAX array.
        """
        return self.feature_cells("fc8", sizes)

    def _pooled(
        self, sizes: Int[Array | np.ndarray, "*b 2"], factor: int
    ) -> Int[Array | np.ndarray, "*b 2"]:
        return sizes // factor if self.pooling == "floor" else -(-sizes // factor)

    def _apply(
        self,
        x: Float[Array, "b h w c"],
        bias: Float[Array, "1 1 1 c"] | None,
        sizes: Int[Array, "b 2"] | None,
        block: Sequence[architectures.Layer],
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> tuple[Float[Array, "b h2 w2 c2"], Float[Array, "1 1 1 c2"] | None]:
        """Applies consecutive layers, except for the bias and ReLU of the last one."""
        for layer in block:
            if layer.kind == "pool":
                # A maximum commutes with adding a bias and with ReLU, so both come after the
                # pooling, where they touch a quarter of the values.
                if self.pooling == "ceil":
                    if sizes is not None:
                        # After LRN no ReLU follows that would turn -inf into 0, the least value.
                        x = layers.mask(x, sizes, 0.0 if bias is None else -jnp.inf)
                    x = layers.pad_odd(x)
                x = layers.max_pool(x)
                continue
            x, bias = self._with_relu(x, bias), None
            if layer.kind == "lrn":
                x = layers.local_response_norm(x)
                continue
            if layer.name in ("fc7", "fc8") and dropout_keys is not None and self.dropout:
                keys = jax.vmap(jax.random.fold_in, (0, None))(dropout_keys, int(layer.name[2:]))
                x = layers.dropout(x, keys, self.dropout)
            if layer.kind == "conv" and sizes is not None:
                x = layers.zero_outside(x, sizes, layer.kernel_px // 2)
            if layer.name == "fc6":
                x = self.place(x, "examples")
            x, bias = getattr(self, layer.name)(x)
            if layer.name in ("fc6", "fc7"):
                x = self.place(x, "features")
        return x, bias

    def _with_relu(
        self, x: Float[Array, "b h w c"], bias: Float[Array, "1 1 1 c"] | None
    ) -> Float[Array, "b h w c"]:
        """Applies the bias and ReLU that `_apply` left out. No bias means that it left out none."""
        return x if bias is None else layers.biased_relu(x, bias)


@functools.partial(jax.jit, static_argnums=0)  # This leaves out the forward pass of flax.
def init_params(model: VGG, key: Key[Array, ""]) -> Params:
    """Draws a net's parameters: {layer: {"kernel": HWIO, "bias": O}}, float32."""
    image = jnp.zeros((1, model.crop_px, model.crop_px, 3))
    return model.init(key, image)["params"]
