"""The nets of Table 1 as one linen module, their initialisation and pre-initialisation."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from vgg_jax.nets import architectures, layers
from vgg_jax.nets.settings import Init, OddEdges

Params = Mapping[str, Mapping[str, Array]]
Initialiser = Callable[[Key[Array, ""], tuple[int, ...], Any], Array]
Split = Literal["examples", "features"]
Place = Callable[[Array, Split], Array]


def kernel_initialiser(init: Init, sigma: float = 0.1) -> Initialiser:
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
        # The bias stays float32, because its gradient is a sum over all positions of all images,
        # and such a sum stops growing at a few hundred in bfloat16.
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        x, bias = layers.conv(x, kernel, self.padding), bias[None, None, None]
        if self.is_mutable_collection("activations") and not self.is_initializing():
            self.sow("activations", "before_relu", x + bias)
        return x, bias

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

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        dropout_keys: Key[Array, " b"] | None = None,
        sizes: Int[Array, "b 2"] | None = None,
    ) -> Float[Array, "b h2 w2 k"]:
        """Computes class score maps.

        A batch can hold images of different sizes. Each then lies in the upper left corner of its
        place, and `sizes` says how large it is. Values outside it are zeroed before each
        convolution, as if the image ended there, so that the first `score_cells` of its map are
        the same as if it were alone.

        Args:
          images: Mean-subtracted RGB times the input scale (`pixels.Normalise`), at least
            crop_px on both sides.
          dropout_keys: One key per example for training; None for evaluation, without dropout.
          sizes: Height and width of each image in px, at least crop_px; None if all fill their
            places.

        Returns:
          Unnormalised class score maps, as large as `score_cells` of (h, w).
          With `mutable=["activations"]` also the values of every layer: see `activations`.

        Raises:
          ValueError: The images are smaller than the crop.
        """
        if min(images.shape[1:3]) < self.crop_px:
            raise ValueError(
                f"Images of {images.shape[1]} x {images.shape[2]} px are smaller than the net's "
                f"crop of {self.crop_px} px."
            )
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

    def score_cells(
        self, sizes: Int[Array | np.ndarray, "*b 2"]
    ) -> Int[Array | np.ndarray, "*b 2"]:
        """Returns the heights and widths, in cells, of the class score maps of images (§3.2).

        Args:
          sizes: Heights and widths of the images in px, a NumPy or JAX array.
        """
        return (
            self._pooled(sizes, architectures.CELL_PX) - self.crop_px // architectures.CELL_PX + 1
        )

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
                    x = layers.pad_odd(x if sizes is None else layers.mask(x, sizes, -jnp.inf))
                x = layers.max_pool(x)
                continue
            if bias is not None:
                x, bias = layers.relu((x + bias).astype(self.dtype)), None
            if layer.kind == "lrn":
                x = layers.local_response_norm(x)
                continue
            if layer.name in ("fc7", "fc8") and dropout_keys is not None and self.dropout:
                keys = jax.vmap(jax.random.fold_in, (0, None))(dropout_keys, int(layer.name[2:]))
                x = layers.dropout(x, keys, self.dropout)
            if layer.kind == "conv" and sizes is not None:
                x = layers.mask(x, sizes)
            if layer.name == "fc6":
                x = self.place(x, "examples")
            x, bias = Conv(
                features=layer.features,
                kernel_px=layer.kernel_px,
                padding="VALID" if layer.kind == "fc" else "SAME",
                kernel_init=kernel_initialiser(self.kernel_init, self.sigma),
                # Scores with bfloat16's 8 bits would tie, and would be rounded in the loss.
                dtype=jnp.float32 if layer.name == "fc8" else self.dtype,
                name=layer.name,
            )(x)
            if layer.name in ("fc6", "fc7"):
                x = self.place(x, "features")
        return x, bias


def init_params(model: VGG, key: Key[Array, ""]) -> Params:
    """Draws a net's parameters: {layer: {"kernel": HWIO, "bias": O}}, float32."""
    image = jnp.zeros((1, model.crop_px, model.crop_px, 3))
    return model.init(key, image)["params"]


def activations(
    model: VGG,
    params: Params,
    images: Float[Array, "b h w 3"],
    names: Sequence[str],
    *,
    before_relu: bool = False,
) -> dict[str, Float[Array, "b h2 w2 c"]]:
    """Computes the activations of named layers.

    Args:
      model: The net.
      params: Its parameters.
      images: Mean-subtracted RGB, scaled as in training, at least crop_px on both sides.
      names: Any of conv1_1 ... conv5_4, fc6, fc7, fc8.
      before_relu: Whether to return the values before ReLU. FC8 has no ReLU.

    Raises:
      ValueError: The net has no layer of that name.
    """
    known = [layer.name for layer in model.architecture if layer.kind in ("conv", "fc")]
    for name in names:
        if name not in known:
            raise ValueError(f"Net {model.net} has no layer {name!r}. It has {', '.join(known)}.")
    _, variables = model.apply({"params": params}, images, mutable=["activations"])
    values = {name: variables["activations"][name]["before_relu"][0] for name in names}
    if before_relu:
        return values
    return {name: value if name == "fc8" else nn.relu(value) for name, value in values.items()}


def preinitialise(params: Params, trained: Params) -> Params:
    """Copies the first four convolutions and FC layers of a trained A into a deeper net (§3.1).

    A's convolutions keep their names: conv1_1, conv2_1, conv3_1 and conv3_2. A convolution is
    copied only if its kernel has the same shape, so B-5x5 takes only the FC layers.

    Args:
      params: Freshly drawn parameters of the deeper net.
      trained: Parameters of the trained A.

    Raises:
      ValueError: The FC kernels' shapes differ: the nets have different crops, widths or numbers
        of classes.
    """
    result = dict(params)
    for name in architectures.PREINITIALISED:
        ours, theirs = params.get(name), trained.get(name)
        fits = ours and theirs and ours["kernel"].shape == theirs["kernel"].shape
        if fits:
            result[name] = theirs
        elif name.startswith("fc"):
            raise ValueError(
                f"{name} cannot be pre-initialised: its kernel is {ours['kernel'].shape}, the "
                f"trained net's {theirs['kernel'].shape}. Train both with the same crop_px, "
                "width and number of classes."
            )
    return result
