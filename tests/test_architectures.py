"""Table 1 and its arithmetic, against the figures that the paper states."""

import itertools

import pytest

from vgg_jax.nets import architectures
from vgg_jax.nets.architectures import Layer

NUM_PARAMETERS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
}
NUM_WEIGHT_LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "B-5x5": 8, "C": 16, "D": 16, "E": 19}

# These are the output values, to two significant figures, and weights, as the paper counts them.
ACCOUNTING_OF_D = [
    ("conv1_1", 3.2e6, 1_728),
    ("conv1_2", 3.2e6, 36_864),
    ("pool1", 800e3, 0),
    ("conv2_1", 1.6e6, 73_728),
    ("conv2_2", 1.6e6, 147_456),
    ("pool2", 400e3, 0),
    ("conv3_1", 800e3, 294_912),
    ("conv3_2", 800e3, 589_824),
    ("conv3_3", 800e3, 589_824),
    ("pool3", 200e3, 0),
    ("conv4_1", 400e3, 1_179_648),
    ("conv4_2", 400e3, 2_359_296),
    ("conv4_3", 400e3, 2_359_296),
    ("pool4", 100e3, 0),
    ("conv5_1", 100e3, 2_359_296),
    ("conv5_2", 100e3, 2_359_296),
    ("conv5_3", 100e3, 2_359_296),
    ("pool5", 25e3, 0),
    ("fc6", 4096, 102_760_448),
    ("fc7", 4096, 16_777_216),
    ("fc8", 1000, 4_096_000),
]


def costs_by_name(net, image_px=224, **setting):
    layers = architectures.layers(net, **setting)
    return {cost.layer.name: cost for cost in architectures.costs(layers, image_px)}


def stack(*kernels_px):
    return [Layer("conv", "conv", kernel_px, 1, 1) for kernel_px in kernels_px]


def field_px(layers):
    return architectures.costs(layers, 224)[-1].receptive_field_px


@pytest.mark.parametrize("net", NUM_PARAMETERS)
def test_parameters_are_table_2s(net):
    num_parameters = architectures.num_parameters(architectures.layers(net))
    assert num_parameters == NUM_PARAMETERS[net]
    assert round(num_parameters / 1e6) == architectures.TABLE_2_MILLIONS[net]


def test_parameters_of_b_5x5():
    convs = 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 512) + 64 + 128 + 256 + 2 * 512
    fcs = (7 * 7 * 512 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    assert architectures.num_parameters(architectures.layers("B-5x5")) == convs + fcs


def test_every_net_has_its_weight_layers():
    assert tuple(NUM_WEIGHT_LAYERS) == architectures.NETS
    for net, expected in NUM_WEIGHT_LAYERS.items():
        layers = architectures.layers(net)
        assert sum(layer.kind in ("conv", "fc") for layer in layers) == expected
        assert [layer.features for layer in layers if layer.kind == "fc"] == [4096, 4096, 1000]


def test_only_a_lrn_normalises_and_before_its_first_pooling():
    for net in architectures.NETS:
        names = [layer.name for layer in architectures.layers(net)]
        assert ("norm1" in names) == (net == "A-LRN")
    assert [layer.name for layer in architectures.layers("A-LRN")][:3] == [
        "conv1_1",
        "norm1",
        "pool1",
    ]
    without_lrn = [layer for layer in architectures.layers("A-LRN") if layer.kind != "lrn"]
    assert without_lrn == list(architectures.layers("A"))


def test_accounting_of_d():
    costs = costs_by_name("D")
    accounting = [(name, cost.values, cost.layer.num_weights) for name, cost in costs.items()]
    to_paper = [
        (name, values if name.startswith("fc") else float(f"{values:.1e}"), weights)
        for name, values, weights in accounting
    ]
    assert to_paper == ACCOUNTING_OF_D
    assert costs["pool5"].values == 7 * 7 * 512 == 25_088


def test_multiply_adds_of_d():
    # Each weight, as the paper counts them, is used once per cell of its layer's output map.
    weights = {name: weights for name, _, weights in ACCOUNTING_OF_D if weights}
    side = {"conv1": 224, "conv2": 112, "conv3": 56, "conv4": 28, "conv5": 14}
    expected = {name: side.get(name[:5], 1) ** 2 * weights[name] for name in weights}
    costs = costs_by_name("D")
    multiply_adds = {name: cost.multiply_adds for name, cost in costs.items()}
    assert {name: number for name, number in multiply_adds.items() if number} == expected
    assert sum(multiply_adds.values()) == 15_470_264_320


def test_convolutions_pad_and_fc_layers_do_not():
    conv, fc = architectures.costs([Layer("c", "conv", 3, 2, 4), Layer("f", "fc", 5, 4, 7)], 6)
    assert (conv.values, conv.multiply_adds) == (6 * 6 * 4, 6 * 6 * 4 * 3 * 3 * 2)
    # Without padding a 5x5 kernel fits into 6x6 cells at four places.
    assert (fc.values, fc.multiply_adds) == (4 * 7, 4 * 25 * 4 * 7)


def test_stacked_3x3_see_what_one_large_kernel_sees():
    assert field_px(stack(3, 3)) == field_px(stack(5)) == 5
    assert field_px(stack(3, 3, 3)) == field_px(stack(7)) == 7
    assert field_px(stack(3, 3, 1)) == 5


def test_receptive_field_grows_twice_as_fast_after_a_pooling():
    pool = Layer("pool", "pool", 2, 1, 1)
    # One output value needs 3 pooled values along a side, so 6 cells, so 8 px.
    assert field_px([*stack(3), pool, *stack(3)]) == 8


@pytest.mark.parametrize("net", ["B-5x5", "C"])
def test_blocks_see_what_bs_see(net):
    ours, bs = costs_by_name(net), costs_by_name("B")
    for block in range(1, 6):
        pool = f"pool{block}"
        assert ours[pool].receptive_field_px == bs[pool].receptive_field_px
    assert bs["pool5"].receptive_field_px == 156


@pytest.mark.parametrize(
    ("image_px", "map_px"),
    [(224, 1), (256, 2), (288, 3), (352, 5), (384, 6), (416, 7), (512, 10), (255, 1), (500, 9)],
)
def test_side_of_the_score_map(image_px, map_px):
    for net in architectures.NETS:
        score_map = costs_by_name(net, image_px)["fc8"]
        assert score_map.output_px == map_px == image_px // 32 - 6
        assert score_map.values == map_px**2 * 1000


def test_width_classes_and_crop():
    layers = {
        layer.name: layer
        for layer in architectures.layers("A", num_classes=10, width=0.25, crop_px=64)
    }
    assert layers["conv1_1"] == Layer("conv1_1", "conv", 3, 3, 16)
    assert layers["conv5_2"] == Layer("conv5_2", "conv", 3, 128, 128)
    assert layers["fc6"] == Layer("fc6", "fc", 2, 128, 1024)
    assert layers["fc7"] == Layer("fc7", "fc", 1, 1024, 1024)
    assert layers["fc8"] == Layer("fc8", "fc", 1, 1024, 10)
    assert costs_by_name("A", 64, crop_px=64)["fc8"].output_px == 1


def test_every_layer_takes_what_the_one_before_it_gives():
    for net in architectures.NETS:
        layers = architectures.layers(net, width=0.3)
        assert layers[0].features_in == 3
        for before, after in itertools.pairwise(layers):
            assert after.features_in == before.features


@pytest.mark.parametrize("net", ["A-LRN", "B", "C", "D", "E"])
def test_layers_preinitialised_from_net_a_have_its_shapes(net):
    of_a = {layer.name: layer for layer in architectures.layers("A")}
    ours = {layer.name: layer for layer in architectures.layers(net)}
    for name in architectures.PREINITIALISED:
        assert ours[name] == of_a[name]
    convs = [name for name in of_a if name.startswith("conv")]
    fcs = [name for name in of_a if name.startswith("fc")]
    assert (*convs[:4], *fcs) == architectures.PREINITIALISED


def test_unknown_net():
    with pytest.raises(ValueError, match=r"Unknown net 'F'.*A, A-LRN, B, B-5x5, C, D, E"):
        architectures.layers("F")


@pytest.mark.parametrize("crop_px", [100, 0, -32, 31])
def test_crop_of_no_whole_number_of_cells(crop_px):
    with pytest.raises(ValueError, match=f"crop_px={crop_px} .*multiple of 32"):
        architectures.layers("A", crop_px=crop_px)


@pytest.mark.parametrize(("image_px", "layer"), [(223, "fc6"), (31, "pool5"), (0, "conv1_1")])
def test_image_below_the_crop(image_px, layer):
    with pytest.raises(ValueError, match=rf"{image_px} px image is too small.* {layer}"):
        architectures.costs(architectures.layers("A"), image_px)
