"""Nets of Table 1, recognised by the shapes of their kernels."""

import pytest

from vgg_jax.errors import UserError
from vgg_jax.foreign import recognise
from vgg_jax.nets import architectures


def _shapes(net, **options):
    """Returns the shapes of the convolutions' and of the FC layers' kernels."""
    layers = architectures.layers(net, **options)
    return tuple(
        [
            (layer.kernel_px, layer.kernel_px, layer.features_in, layer.features)
            for layer in layers
            if layer.kind == kind
        ]
        for kind in ("conv", "fc")
    )


def _names(net):
    return tuple(layer.name for layer in architectures.layers(net) if layer.num_weights)


@pytest.mark.parametrize("width", [1.0, 1 / 16, 0.3, 0.123, 1 / 64, 0.004, 2.0])
@pytest.mark.parametrize("net", architectures.NETS)
def test_every_net_is_recognised_at_every_width(net, width):
    convolutions, fully_connected = _shapes(net, width=width, crop_px=96, num_classes=5)
    found = recognise.net_of(convolutions, fully_connected)
    assert found.nets == (("A", "A-LRN") if net.startswith("A") else (net,))
    assert (found.crop_px, found.num_classes, found.names) == (96, 5, _names(net))
    again = _shapes(net, width=found.width, crop_px=96, num_classes=5)
    assert again == (convolutions, fully_connected)
    if width in (1.0, 1 / 16, 1 / 64, 2.0):
        assert found.width == width
    without = recognise.net_of(convolutions, [])
    assert (without.nets, without.crop_px, without.num_classes) == (found.nets, None, None)
    assert without.names == _names(net)[:-3]
    assert _shapes(net, width=without.width)[0] == convolutions


def _changed(part, index, shape):
    shapes = _shapes("D")
    shapes[part][index] = shape
    return shapes


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (([(11, 11, 3, 64), (5, 5, 64, 192)], []), "2 convolutions have kernels of 11 x 11, 5 x 5"),
        (([], []), "their 0 convolutions"),
        (_changed(0, 0, (3, 3, 1, 64)), "conv1_1 has a kernel of 3 x 3 x 1 x 64"),
        (_changed(0, 3, (3, 3, 128, 96)), "conv2_2 has a kernel of 3 x 3 x 128 x 96"),
        (_changed(0, 5, (3, 5, 256, 256)), "3 x 5"),
        (_changed(1, 0, (7, 7, 512, 1024)), "fc6 has a kernel of 7 x 7 x 512 x 1024"),
        (_changed(1, 0, (7, 6, 512, 4096)), "instead of the 7 x 7 x 512 x 4096 of net D"),
        (_changed(1, 1, (2, 2, 4096, 4096)), "fc7"),
        (_changed(1, 2, (1, 1, 4096, 0)), "fc8"),
        ((_shapes("D")[0], _shapes("D")[1][:2]), "have 2 FC layers"),
    ],
)
def test_other_nets_are_refused_by_what_does_not_fit(shapes, message):
    with pytest.raises(UserError, match=message):
        recognise.net_of(*shapes)
