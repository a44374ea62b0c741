"""Descriptors of images: against a loop over `net.features`, image by image."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from PIL import Image
from random_net import random_net

from vgg_jax.data import images
from vgg_jax.errors import UserError
from vgg_jax.evaluation import descriptors
from vgg_jax.evaluation.descriptor_settings import DescriptorSettings
from vgg_jax.evaluation.image_pass import ImagePass
from vgg_jax.evaluation.methods import dense
from vgg_jax.nets.vgg import VGG

_LAYERS = ("conv1_1", "relu3_1", "pool3", "pool5", "fc6", "relu7", "fc8")
_BEFORE_FC6 = ("conv2_1", "relu4_2", "pool4")
_SIZES = ((71, 93), (64, 64), (137, 67), (90, 201), (50, 200), (301, 111))


def _photos():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)) for size in _SIZES]


_PHOTOS = _photos()
_net = functools.cache(random_net)
_SIZES_PX = np.array(_SIZES, np.int32)


def _compute(net, *scales, num_photos=len(_PHOTOS), **settings):
    return descriptors.compute(
        net.inference,
        _PHOTOS.__getitem__,
        _SIZES_PX[:num_photos],
        DescriptorSettings(scales, **settings),
        batch_px=2**20,
    )


def _plain(net, scale, layer, num_photos=len(_PHOTOS)):
    """The definition, for one image after another."""
    means = np.stack([_means(net, scale, number)[layer] for number in range(num_photos)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@functools.cache
def _means(net, scale, number):
    """Returns each layer's mean over an image and its flip. At a small Q, FC6 has no room."""
    pixels = images.rescale(_PHOTOS[number], scale)
    layers = _LAYERS if scale >= net.model.crop_px else _BEFORE_FC6
    ways = [net.features(way[None], layers) for way in (pixels, pixels[:, ::-1])]
    return {
        name: np.mean([np.asarray(way[name])[0].mean((0, 1)) for way in ways], axis=0)
        for name in layers
    }


@functools.cache
def _with_pooling(pooling):
    net = _net()
    model = dataclasses.replace(net.model, pooling=pooling)
    return dataclasses.replace(net, inference=dataclasses.replace(net.inference, model=model))


@pytest.mark.parametrize("pooling", ["floor", "ceil"])
@pytest.mark.parametrize("layer", _LAYERS)
def test_they_are_those_of_a_loop_over_images(layer, pooling):
    net = _with_pooling(pooling)
    expected = _plain(net, 75, layer)
    values = _compute(net, 75, layer=layer)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert np.abs(expected - expected.mean(0)).max() > 1e-3  # They tell images apart.
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-5)


def test_these_images_share_padded_batches():
    method = dense.whole_images(descriptors.of_batch, layer="relu7")
    each = ImagePass(
        _net().inference, _PHOTOS.__getitem__, _SIZES_PX,
        method=method, scale=75, batch_px=2**20,
    )  # fmt: skip
    assert len(each.plan.batches) < len(_SIZES)


@pytest.mark.parametrize("layer", _BEFORE_FC6)
def test_layers_before_fc6_need_no_crop(layer):
    net = _net()
    expected = _plain(net, 35, layer, num_photos=3)
    np.testing.assert_allclose(_compute(net, 35, layer=layer, num_photos=3), expected, atol=1e-5)


def test_several_scales_are_stacked_or_averaged():
    net = _net()
    parts = [_compute(net, scale) for scale in (64, 81, 100)]
    np.testing.assert_array_equal(_compute(net, 64, 81, 100), np.concatenate(parts, axis=1))
    averaged = _compute(net, 64, 81, 100, combine="average")
    assert averaged.dtype == np.float32
    np.testing.assert_allclose(averaged, np.mean(parts, axis=0), atol=1e-7)


def test_an_image_and_its_flip_have_one_descriptor():
    net, photo = _net(), _PHOTOS[0]
    both = [photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    sizes = np.array([_SIZES[0]] * 2, np.int32)
    settings = DescriptorSettings((71,), "relu3_1")  # At Q = 71 nothing is resampled.
    first, second = descriptors.compute(net.inference, both.__getitem__, sizes, settings)
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_eight_devices_compute_what_one_does():
    several, one = (_compute(_net(n), 75, layer="relu5_1") for n in (8, 1))
    np.testing.assert_allclose(several, one, atol=1e-6)


def test_all_layers_that_are_listed_work_and_no_other():
    names = descriptors.layers(_net().model)
    assert names[:3] == ("conv1_1", "relu1_1", "pool1")
    assert names[-5:] == ("fc6", "relu6", "fc7", "relu7", "fc8")
    with_lrn = VGG(net="A-LRN", width=1 / 32)
    assert "norm1" in descriptors.layers(with_lrn)
    with pytest.raises(UserError, match=r"no layer 'prob' that .* one of conv1_1, .*, fc8\.$"):
        _compute(_net(), 64, layer="prob")
    with pytest.raises(UserError, match=r"no layer 'relu9'"):
        _compute(_net(), 64, layer="relu9")


@pytest.mark.parametrize(
    ("layer", "scale", "message"),
    [
        ("relu7", 63, "Q=63 is too small for relu7 .* crop of 64 px. Choose scales of 64"),
        ("pool5", 31, "Q=31 is too small for pool5 .* poolings. Choose scales of 32"),
        ("relu3_1", 3, "Q=3 is too small for relu3_1 .* Choose scales of 4 or more"),
    ],
)
def test_a_scale_that_is_too_small_is_refused(layer, scale, message):
    with pytest.raises(UserError, match=message):
        _compute(_net(), 100, scale, layer=layer)


def test_a_descriptor_of_zeros_stays_zero_and_other_numbers_are_refused():
    net = _net()

    def with_all(value):
        params = jax.tree.map(lambda leaf: leaf * 0 + value, net.inference.params)
        return dataclasses.replace(net, inference=dataclasses.replace(net.inference, params=params))

    np.testing.assert_array_equal(_compute(with_all(0.0), 64, num_photos=2), 0)
    with pytest.raises(UserError, match="not finite"):
        _compute(with_all(np.nan), 64, num_photos=2)
