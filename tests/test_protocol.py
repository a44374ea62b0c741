"""Whole-image evaluation (§3.2) against tests/numpy_reference.py, and its parts one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_reference as reference
import pytest
from ml_collections import FrozenConfigDict
from PIL import Image

from configs import mini
from vgg_jax.evaluation import crop_average, posteriors
from vgg_jax.evaluation.inference import Inference
from vgg_jax.evaluation.methods import dense
from vgg_jax.evaluation.posterior_pass import PosteriorPass
from vgg_jax.evaluation.trained_net import TrainedNet
from vgg_jax.nets import sharding
from vgg_jax.nets.pixels import Normalise
from vgg_jax.nets.vgg import VGG, init_params

_CLASSES = 7
_MEAN_RGB = (118.0, 109.5, 97.0)
_TOLERANCE = 1e-5
# Heights and widths include odd ones, shorter and longer than Q, the crop's own, and 1 to 4.
_SIZES = ((71, 93), (64, 64), (137, 67), (90, 201), (50, 200), (301, 111))


def _image(height, width):
    """Returns blobs of colour, which a net tells apart, with noise, so that each pixel counts."""
    rng = np.random.default_rng((height, width))
    blobs = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    blobs = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC), np.int64)
    return np.clip(blobs + rng.integers(-30, 31, blobs.shape), 0, 255).astype(np.uint8)


_IMAGES = [_image(*size) for size in _SIZES]


@functools.cache
def _nets(name, crop_px=64, pooling="floor", width=1 / 32, num_devices=8):
    """Returns the same net twice, the package's and the reference's.

    Its kernels follow He's rule. Its biases aren't zero, because that would hide what padding does.
    FC8 gives class scores a standard deviation of 1.5 over the images: all posteriors would
    otherwise be nearly the same.
    """
    model = VGG(net=name, num_classes=_CLASSES, width=width, crop_px=crop_px, pooling=pooling)
    # LRN nearly divides by a constant unless activations are in the hundreds.
    input_scale = 1.0 if name == "A-LRN" else 1 / 70
    rng = np.random.default_rng(1)

    def draw(shape):
        sigma = 20 * input_scale if len(shape) == 1 else np.sqrt(2 / np.prod(shape[:-1]))
        return rng.normal(0, sigma, shape).astype(np.float32)

    shapes = jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))
    params = jax.tree.map(lambda leaf: draw(leaf.shape), shapes)
    theirs = reference.Net(name, params, crop_px, _MEAN_RGB, input_scale, pooling, width)

    pixels = [reference.rescale(image, crop_px)[None] for image in _IMAGES]
    scores = np.stack([theirs.score_maps(each).mean((0, 1, 2)) for each in pixels])
    fc8, factor = params["fc8"], np.float32(1.5 / scores.std(axis=0).mean())
    fc8["bias"] = (fc8["bias"] - scores.mean(axis=0, dtype=np.float32)) * factor
    fc8["kernel"] = fc8["kernel"] * factor

    c = mini.get_config("a_256")
    c.eval.scales = (crop_px, crop_px + 25)
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    inference = Inference(
        model=model,
        params=sharding.put_replicated(params, mesh),
        mesh=mesh,
        normalise=Normalise(_MEAN_RGB, input_scale),
    )
    names = tuple(map(str, range(_CLASSES)))
    return TrainedNet(inference, names, FrozenConfigDict(c), step=1), theirs


@functools.cache
def _expected(net, method, scales):
    return reference.posteriors(_nets(*net)[1], _IMAGES, method=method, scales=scales)


def _difference(values, expected):
    assert values.shape == expected.shape
    return np.max(np.abs(values - expected))


def _padded(images, *, seed):
    """Returns a batch, with each image in the upper left of a larger place of noise, and sizes."""
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    rng = np.random.default_rng(seed)
    height, width = sizes.max(axis=0)
    batch = rng.integers(0, 256, (len(images), height + 3, width + 5, 3), np.uint8)
    for place, image in zip(batch, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return jnp.asarray(batch), jnp.asarray(sizes)


@pytest.mark.parametrize(
    ("net", "method", "scales"),
    [
        (("A",), "dense", (64,)),
        (("A",), "multicrop", (89,)),
        (("A",), "both", (64, 89)),
        (("A",), "tencrop", (64, 89)),
        (("A-LRN",), "tencrop", (89,)),
        (("A", 64, "ceil"), "dense", (89,)),
        (("A", 96), "dense", (107,)),
        (("A-LRN",), "both", (74,)),
        (("A-LRN", 64, "ceil"), "dense", (74,)),
        (("C",), "dense", (74,)),
        (("C", 64, "ceil"), "dense", (89,)),
        (("B-5x5",), "dense", (100,)),
    ],
)
def test_posteriors_are_the_references(net, method, scales):
    values = _nets(*net)[0].posteriors(_IMAGES, method=method, scales=scales)

    expected = _expected(net, method, scales)
    assert _difference(values, expected) < _TOLERANCE
    assert np.mean(np.std(expected, axis=0)) > 1000 * _TOLERANCE
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-6)


def test_without_scales_they_are_the_configs():
    values = _nets("A")[0].posteriors(_IMAGES)
    assert _difference(values, _expected(("A",), "dense", (64, 89))) < _TOLERANCE


def test_these_images_share_padded_batches():
    net, sizes = _nets("A")[0], np.array(_SIZES, np.int32)
    one = PosteriorPass(
        net.inference, _IMAGES.__getitem__, sizes, method="dense", scale=89, batch_px=2**22
    )
    assert len(one.plan.batches) < len(_SIZES)


def test_the_reference_tells_other_protocols_apart():
    """With other protocols, posteriors differ by far more than the tolerance."""
    net, ceil = _nets("A")[1], _nets("A", 64, "ceil")[1]
    for image in _IMAGES[:3]:
        pixels = reference.rescale(image, 100)
        padded = np.pad(pixels, ((0, 64), (0, 64), (0, 0)), mode="edge")
        maps = net.score_maps(np.stack([pixels, pixels[:, ::-1]]))
        _, rows, columns, _ = maps.shape
        unmasked = net.score_maps(padded[None])[0, :rows, :columns].mean((0, 1))
        unflipped = net.score_maps(reference.grid_of_crops(pixels, 64))[:, 0, 0]
        one_way, dense = reference.one_way(net, pixels), reference.dense(net, pixels)
        multicrop = reference.multicrop(net, pixels)
        for other, expected in (
            (one_way, dense),
            (reference.softmax(unmasked), one_way),
            (reference.softmax(maps).mean((0, 1, 2)), dense),
            (reference.dense(ceil, pixels), dense),
            (reference.softmax(unflipped).mean(0), multicrop),
            (dense, multicrop),
            (reference.tencrop(net, pixels), multicrop),
            (reference.tencrop(net, pixels), dense),
        ):
            assert _difference(other, expected) > 100 * _TOLERANCE


def test_the_averages_of_scales_methods_and_nets_are_the_references():
    scales, fused, expected = {"A": (64, 89), "A-LRN": (74,)}, {}, []
    names, labels = tuple(map(str, _SIZES)), np.zeros(len(_SIZES), np.int32)
    for name, of_net in scales.items():
        net = _nets(name)[0]
        parts = {
            method: {
                scale: posteriors.Posteriors(
                    names,
                    labels,
                    net.class_names,
                    net.posteriors(_IMAGES, method=method, scales=(scale,)),
                    {"identity": {"net": name, "method": method, "scale": scale}},
                )
                for scale in of_net
            }
            for method in ("dense", "multicrop")
        }
        fused[name] = posteriors.combine(parts)
        expected.append(_expected((name,), "both", of_net))
        assert _difference(fused[name].values, expected[-1]) < _TOLERANCE

    values = posteriors.average(fused).values

    assert _difference(values, reference.fusion(expected)) < _TOLERANCE
    assert _difference(*expected) > 1000 * _TOLERANCE


def _apply(net, pixels):
    """Returns class score maps of images of one size, without padding."""
    normalise = net.inference.normalise
    apply = jax.jit(lambda params, pixels: net.model.apply({"params": params}, normalise(pixels)))
    return apply(net.params, jnp.asarray(pixels))


def test_dense_evaluation_of_a_crop_is_the_training_nets():
    ours, theirs = _nets("A")
    crop = _IMAGES[1]
    both = np.stack([crop, crop[:, ::-1]])

    logits = _apply(ours, both)[:, 0, 0]

    expected = theirs.score_maps(both)[:, 0, 0]
    assert _difference(logits, expected) < 1e-4 * np.max(np.abs(expected))
    posterior = np.mean(jax.nn.softmax(logits), axis=0, keepdims=True)
    assert _difference(ours.posteriors([crop], scales=(64,)), posterior) < _TOLERANCE


@pytest.mark.parametrize("pooling", ["floor", "ceil"])
@pytest.mark.parametrize("crop_px", [64, 96, 224])
def test_an_image_among_larger_ones_is_as_alone(crop_px, pooling):
    """FC6 is 2x2, 3x3 or 7x7. Odd sides have rows and columns that are left out or pooled alone."""
    net, _ = _nets("A", crop_px, pooling, 1 / 64)
    images = [_image(crop_px + 7, crop_px + 69), _image(crop_px + 77, crop_px + 15)]
    batch, sizes = _padded(images, seed=1)

    values = net.inference.call(dense.posteriors, np.asarray(batch), np.asarray(sizes))

    for image, value in zip(images, values, strict=True):
        scores = _apply(net, np.stack([image, image[:, ::-1]])).mean((1, 2))
        assert _difference(value, jax.nn.softmax(scores).mean(0)) < _TOLERANCE


def test_an_image_of_15_to_1_has_posteriors():
    ours, theirs = _nets("A")
    images = [_image(400, 6000), _image(6000, 400)]
    values = ours.posteriors(images, method="both", scales=(64,))
    expected = reference.posteriors(theirs, images, method="both", scales=(64,))
    assert _difference(values, expected) < _TOLERANCE


@pytest.mark.parametrize("method", ["dense", "multicrop", "tencrop"])
def test_eight_devices_compute_what_one_does(method):
    images = _IMAGES[:3]
    several, one = (
        _nets("A", num_devices=n)[0].posteriors(images, method=method, scales=(74,)) for n in (8, 1)
    )
    assert _difference(several, one) < 1e-6


@pytest.mark.parametrize("method", ["dense", "multicrop", "tencrop"])
def test_a_batch_has_an_image_a_device_however_few_its_pixels(method):
    """Nine images on eight devices: the second batch has seven empty places."""
    ours, theirs = _nets("A")
    image, other = _IMAGES[0], _IMAGES[0][::-1]

    values = ours.posteriors([image] * 8 + [other], method=method, scales=(64,), batch_px=1)

    expected = reference.posteriors(theirs, [image, other], method=method, scales=(64,))
    assert _difference(values, expected[[0] * 8 + [1]]) < _TOLERANCE
    assert _difference(*expected) > 1000 * _TOLERANCE


def test_a_score_map_is_averaged_over_its_valid_cells_alone():
    scores = np.random.default_rng(0).standard_normal((3, 4, 5, 2)).astype(np.float32)
    cells = np.array([[4, 5], [1, 1], [3, 2]], np.int32)
    expected = [scores[0].mean((0, 1)), scores[1, 0, 0], scores[2, :3, :2].mean((0, 1))]
    for index, (rows, columns) in enumerate(cells):
        scores[index, rows:] = scores[index, :, columns:] = np.inf

    pooled = dense.pool_score_map(jnp.asarray(scores), jnp.asarray(cells))

    np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_an_image_is_flipped_within_its_own_width():
    images = [_image(4, 7), _image(6, 3), _image(5, 5)]
    batch, sizes = _padded(images, seed=1)

    flipped = dense.flip_valid(batch, sizes)

    for place, image in zip(np.asarray(flipped), images, strict=True):
        np.testing.assert_array_equal(place[: image.shape[0], : image.shape[1]], image[:, ::-1])


def test_crops_are_a_grid_from_corner_to_corner_and_its_flips():
    images = [_image(256, 300), _image(300, 230), _image(224, 225)]
    offsets = {
        224: (0, 0, 0, 0, 0),
        225: (0, 0, 0, 1, 1),  # 0.5 is a tie and rounds to the even 0.
        230: (0, 2, 3, 4, 6),  # 1.5 and 4.5 are ties too.
        256: (0, 8, 16, 24, 32),
        300: (0, 19, 38, 57, 76),
    }

    places = tuple((y / 4, x / 4) for y in range(5) for x in range(5))
    crops = np.asarray(crop_average.cut_crops(*_padded(images, seed=1), 224, places))

    assert crops.shape == (3 * 50, 224, 224, 3)
    for image, of_image in zip(images, crops.reshape(3, 50, 224, 224, 3), strict=True):
        grid, flips = of_image[:25], of_image[25:]
        places = [(y, x) for y in offsets[image.shape[0]] for x in offsets[image.shape[1]]]
        for crop, (top, left) in zip(grid, places, strict=True):
            np.testing.assert_array_equal(crop, image[top : top + 224, left : left + 224])
        np.testing.assert_array_equal(grid[0], image[:224, :224])
        np.testing.assert_array_equal(grid[-1], image[-224:, -224:])
        np.testing.assert_array_equal(flips, grid[:, :, ::-1])
