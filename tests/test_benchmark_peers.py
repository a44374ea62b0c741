"""The peers that are written in the benchmarks compute what this code computes."""

import dataclasses

import jax
import numpy as np
import pytest

from launch.benchmark import arithmetic, photos
from launch.benchmark.case import Case
from launch.benchmark.sides import jax_dense, jax_layers, jax_step

torch = pytest.importorskip("torch")

from launch.benchmark.sides import torch_dense, torch_layers, torch_net, torch_step  # noqa: E402
from vgg_jax.nets import architectures, pixels  # noqa: E402

CPU = torch.device("cpu")
SMALL = Case(
    *("A", "float32", 4),
    width=1 / 16,
    crop_px=64,
    num_classes=7,
    dropout=0.0,
    colour_shift=0.0,
    learning_rate=0.01,
)
NCHW, OIHW = (0, 3, 1, 2), (3, 2, 0, 1)
ONCE = {"warm_up": 0, "at_least": 1, "at_least_s": 0}


def _ours(module):
    """Returns PyTorch's parameters in our layout: {layer: {"kernel": HWIO, "bias": O}}."""
    layers = [layer for layer in SMALL.layers if layer.num_weights]
    found = [one for one in module.body if hasattr(one, "weight")]
    result = {}
    for layer, one in zip(layers, found, strict=True):
        side = layer.kernel_px
        weight = one.weight.detach().reshape(layer.features, layer.features_in, side, side)
        result[layer.name] = {
            "kernel": weight.permute(2, 3, 1, 0).numpy(),
            "bias": one.bias.detach().numpy(),
        }
    return result


@pytest.mark.parametrize("net", architectures.NETS)
def test_the_forward_pass_is_the_same_for_each_net(net):
    case = dataclasses.replace(SMALL, net=net)
    ours = np.asarray(jax_step.forward(case)())
    theirs = torch_step.forward(case, CPU, compiled=False)().numpy()
    assert ours.std() > 0.01
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * np.abs(ours).max())


def test_two_steps_have_the_same_losses_and_parameters():
    ours = jax_step.training_step(SMALL)
    theirs = torch_step.training_step(SMALL, CPU, compiled=False)
    first = SMALL.params()
    for _ in range(2):  # In the second one momentum counts.
        params, loss = ours()
        net, their_loss = theirs()
        assert their_loss.item() == pytest.approx(float(loss), rel=1e-5)
        for name, layer in _ours(net).items():
            for key, values in layer.items():
                expected = np.asarray(params[name][key])
                moved = np.abs(expected - first[name][key]).max()
                assert moved > 0
                np.testing.assert_allclose(values, expected, rtol=0, atol=1e-3 * moved)


def test_kernels_are_penalised_and_biases_are_not():
    case = dataclasses.replace(SMALL, l2_penalty=0.5)
    params, _ = jax_step.training_step(case)()
    net, _ = torch_step.training_step(case, CPU, compiled=False)()
    for name, layer in _ours(net).items():
        for key, values in layer.items():
            np.testing.assert_allclose(values, np.asarray(params[name][key]), rtol=0, atol=1e-5)


def test_bfloat16_is_rounded_on_both_sides_alike():
    case = dataclasses.replace(SMALL, dtype="bfloat16")
    exact = np.asarray(jax_step.forward(SMALL)())
    ours = np.asarray(jax_step.forward(case)())
    theirs = torch_step.forward(case, CPU, compiled=False)().numpy()
    for values in (ours, theirs):
        assert 0 < np.abs(values - exact).max() < 0.05 * np.abs(exact).max()


def test_the_colour_shift_has_the_same_components():
    assert torch_step.RGB_EIGENVECTORS == pixels.RGB_EIGENVECTORS
    assert torch_step.RGB_STANDARD_DEVIATIONS == pixels.RGB_STANDARD_DEVIATIONS


def test_dropout_and_the_colour_shift_change_pytorchs_loss():
    plain = torch_step.training_step(SMALL, CPU, compiled=False)()[1].item()
    for changed in ({"dropout": 0.5}, {"colour_shift": 0.1}):
        case = dataclasses.replace(SMALL, **changed)
        assert torch_step.training_step(case, CPU, compiled=False)()[1].item() != plain


@pytest.mark.parametrize("batch", [1, 3])
def test_dense_posteriors_are_the_same(tmp_path, batch):
    case = dataclasses.asdict(SMALL)
    images = {"data": None, "count": 9, "scale": 70}
    ours = jax_dense.measure(case, images, ONCE, str(tmp_path / "ours.npy"))
    theirs = torch_dense.measure(
        case, images, ONCE, str(tmp_path / "theirs.npy"), platform="cpu", batch=batch
    )
    ours_values, values = (np.load(tmp_path / f"{side}.npy") for side in ("ours", "theirs"))
    assert ours_values.std(axis=0).max() > 1e-4
    np.testing.assert_allclose(values, ours_values, rtol=0, atol=1e-6)
    sizes = {image.size for image in photos.photos(**images)}
    assert theirs["shapes"] >= len(sizes) > 1
    assert len(ours["seconds"]) == len(theirs["seconds"]) == 1


def test_the_parameters_are_those_of_the_case():
    net = torch_net.TorchNet(SMALL, dense=True)
    found = _ours(net)
    for name, layer in SMALL.params().items():
        for key, values in layer.items():
            np.testing.assert_array_equal(found[name][key], values)
    assert jax.tree.structure(found) == jax.tree.structure(SMALL.params())


def test_the_passes_of_a_convolution_are_the_same():
    rng = np.random.default_rng(0)
    x, kernel, g = (
        rng.standard_normal(shape, np.float32)
        for shape in ((2, 6, 5, 3), (3, 3, 3, 4), (2, 6, 5, 4))
    )
    theirs = [torch.from_numpy(values) for values in (x, kernel, g)]
    theirs = [t.permute(order) for t, order in zip(theirs, (NCHW, OIHW, NCHW), strict=True)]
    assert jax_layers.PASSES.keys() == torch_layers.PASSES.keys() == {*arithmetic.PASSES}
    for name, function in jax_layers.PASSES.items():
        found = torch_layers.PASSES[name](*theirs)
        back = (2, 3, 1, 0) if name == "gradient of the kernel" else (0, 2, 3, 1)
        expected = np.asarray(jax.jit(function)(x, kernel, g))
        np.testing.assert_allclose(found.permute(back).numpy(), expected, rtol=0, atol=1e-4)
