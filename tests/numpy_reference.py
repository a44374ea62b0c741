"""A second implementation of the paper's test protocol (§3.2), in NumPy and Pillow.

It computes in float64, image by image, and shares no code with the package. An image is uint8 RGB
of shape (h, w, 3). An image that is rescaled to Q is called pixels.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

# These are columns of Table 1, without the three FC layers at the end of each.
TABLE_1 = {
    "A": """conv3-64 maxpool conv3-128 maxpool conv3-256 conv3-256 maxpool
            conv3-512 conv3-512 maxpool conv3-512 conv3-512 maxpool""",
    "A-LRN": """conv3-64 LRN maxpool conv3-128 maxpool conv3-256 conv3-256 maxpool
                conv3-512 conv3-512 maxpool conv3-512 conv3-512 maxpool""",
    "C": """conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool
            conv3-256 conv3-256 conv1-256 maxpool conv3-512 conv3-512 conv1-512 maxpool
            conv3-512 conv3-512 conv1-512 maxpool""",
    # §2.3: one 5x5 layer replaces each pair of B's 3x3 layers.
    "B-5x5": """conv5-64 maxpool conv5-128 maxpool conv5-256 maxpool conv5-512 maxpool
                conv5-512 maxpool""",
}


@dataclasses.dataclass(frozen=True)
class Net:
    """A net that is applied to whole images.

    Attributes:
      name: The name of its column of Table 1.
      params: {layer: {"kernel": HWIO, "bias": O}}.
      crop_px: The side of the training crops, in px.
      mean_rgb: The mean to subtract, 0-255.
      input_scale: The factor for the values after the subtraction.
      pooling: Whether an odd last row or column is left out ("floor") or pooled alone ("ceil").
      width: The factor for the channels of Table 1.
    """

    name: str
    params: Mapping[str, Mapping[str, np.ndarray]]
    crop_px: int
    mean_rgb: Sequence[float]
    input_scale: float
    pooling: str = "floor"
    width: float = 1.0

    def score_maps(self, pixels: np.ndarray) -> np.ndarray:
        """Returns class scores (n, rows, columns, classes) of images (n, h, w, 3) of one size."""
        x = (pixels.astype(np.float64) - np.asarray(self.mean_rgb)) * self.input_scale
        block, index, unused = 1, 1, set(self.params)
        for row in TABLE_1[self.name].split():
            if row == "maxpool":
                x = _max_pool(x, self.pooling)
                block, index = block + 1, 1
            elif row == "LRN":
                x = _local_response_norm(x)
            else:
                side, features = map(int, row.removeprefix("conv").split("-"))
                layer = self.params[f"conv{block}_{index}"]
                assert layer["kernel"].shape[:2] == (side, side)
                assert layer["kernel"].shape[3] == round(features * self.width)
                border = side // 2
                x = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
                x = np.maximum(_convolution(x, layer), 0)
                unused.remove(f"conv{block}_{index}")
                index += 1
        # The first FC layer covers the whole map of a training crop, the others one cell.
        for name, side in (("fc6", self.crop_px // 32), ("fc7", 1), ("fc8", 1)):
            assert self.params[name]["kernel"].shape[:2] == (side, side)
            x = _convolution(x, self.params[name])
            x = x if name == "fc8" else np.maximum(x, 0)
            unused.remove(name)
        assert not unused
        return x


def _convolution(x: np.ndarray, layer: Mapping[str, np.ndarray]) -> np.ndarray:
    kernel, bias = (layer[part].astype(np.float64) for part in ("kernel", "bias"))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.tensordot(windows, kernel, axes=([3, 4, 5], [2, 0, 1])) + bias


def _max_pool(x: np.ndarray, pooling: str) -> np.ndarray:
    n, height, width, channels = x.shape
    if pooling == "ceil":
        border = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        x = np.pad(x, border, constant_values=-np.inf)
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * rows, : 2 * columns]
    return x.reshape(n, rows, 2, columns, 2, channels).max(axis=(2, 4))


def _local_response_norm(x: np.ndarray) -> np.ndarray:
    """Applies Krizhevsky's LRN: k = 2, n = 5, alpha = 1e-4 (times the sum), beta = 0.75."""
    squares = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    near = sum(squares[..., i : i + x.shape[-1]] for i in range(5))
    return x / (2 + 1e-4 * near) ** 0.75


def rescale(image: np.ndarray, scale: int) -> np.ndarray:
    """Rescales the shorter side to `scale` px with Pillow's bilinear filter, which antialiases."""
    height, width = image.shape[:2]
    short = min(height, width)
    size = (round(width * scale / short), round(height * scale / short))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def one_way(net: Net, pixels: np.ndarray) -> np.ndarray:
    """Evaluates densely without the flip: softmax of the spatial mean of the class score map."""
    return softmax(net.score_maps(pixels[None])[0].mean(axis=(0, 1)))


def dense(net: Net, pixels: np.ndarray) -> np.ndarray:
    """Returns the average of the posteriors of the image and of its flip."""
    return (one_way(net, pixels) + one_way(net, pixels[:, ::-1])) / 2


def grid_of_crops(pixels: np.ndarray, crop_px: int) -> np.ndarray:
    """Returns 5x5 crops, evenly spaced from corner to corner, row by row."""
    tops, lefts = ([round(i * (n - crop_px) / 4) for i in range(5)] for n in pixels.shape[:2])
    return np.stack([pixels[y : y + crop_px, x : x + crop_px] for y in tops for x in lefts])


def multicrop(net: Net, pixels: np.ndarray) -> np.ndarray:
    """Returns the average of the posteriors of 25 crops and of their flips."""
    return _crop_average(net, grid_of_crops(pixels, net.crop_px))


def tencrop(net: Net, pixels: np.ndarray) -> np.ndarray:
    """Returns the average of the posteriors of the corners, the centre and their flips."""
    side = net.crop_px
    top, left = (round((n - side) / 2) for n in pixels.shape[:2])
    crops = [
        *(pixels[:side, :side], pixels[:side, -side:], pixels[-side:, :side]),
        *(pixels[-side:, -side:], pixels[top : top + side, left : left + side]),
    ]
    return _crop_average(net, np.stack(crops))


def _crop_average(net: Net, crops: np.ndarray) -> np.ndarray:
    scores = net.score_maps(np.concatenate([crops, crops[:, :, ::-1]]))
    assert scores.shape[:3] == (2 * len(crops), 1, 1)
    return softmax(scores[:, 0, 0]).mean(axis=0)


def posteriors(
    net: Net, images: Sequence[np.ndarray], *, method: str, scales: Sequence[int]
) -> np.ndarray:
    """Returns each image's posteriors, averaged over the scales and, for "both", the methods."""
    functions = {
        "dense": (dense,),
        "multicrop": (multicrop,),
        "tencrop": (tencrop,),
        "both": (dense, multicrop),
    }[method]
    return np.stack(
        [
            np.mean([f(net, rescale(image, scale)) for f in functions for scale in scales], axis=0)
            for image in images
        ]
    )


def fusion(of_nets: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the average of the posteriors of several nets."""
    return np.mean(of_nets, axis=0)
