"""The Python API on NumPy arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_runs
from random_net import random_net

import vgg_jax
from configs import mini
from vgg_jax.data import images
from vgg_jax.errors import UserError
from vgg_jax.evaluation import class_maps, trained_net
from vgg_jax.plots import picture_file, score_map
from vgg_jax.runs import run_config


@pytest.fixture(scope="module")
def net():
    return random_net()


def changed(net, **what):
    """Returns the same net with another model or other parameters."""
    return dataclasses.replace(net, inference=dataclasses.replace(net.inference, **what))


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def rescaled(image, scale):
    return images.rescale(images.Image.fromarray(image), scale)


def scores(net, pixels):
    images = net.inference.normalise(jnp.asarray(pixels[None]))
    return np.asarray(jax.jit(net.model.apply)({"params": net.params}, images))[0]


def test_scales_default_to_the_configs(net):
    image = photo(90, 120)
    by_scale = [net.posteriors([image], scales=(q,)) for q in (64, 100)]
    np.testing.assert_allclose(net.posteriors([image]), np.mean(by_scale, axis=0), atol=1e-7)
    assert net.posteriors([image]).dtype == np.float32
    assert net.posteriors([]).shape == (0, 4)


@pytest.mark.parametrize("pooling", ["floor", "ceil"])
@pytest.mark.parametrize("size", [(70, 101), (133, 75)])
def test_a_score_map_is_the_nets(net, size, pooling):
    net = changed(net, model=dataclasses.replace(net.model, pooling=pooling))
    image = photo(*size)
    theirs = scores(net, rescaled(image, 77))
    found = net.score_map(image, scale=77)
    h, w = found.shape[:2]
    assert (h, w) == tuple((np.array(rescaled(image, 77).shape[:2]) - 64) // 32 + 1)
    np.testing.assert_allclose(found, theirs[:h, :w], atol=1e-4)


def test_a_finer_score_map_interleaves_those_of_the_shifted_image(net):
    image = photo(70, 90)
    pixels = rescaled(image, 80)
    coarse, fine = (net.score_map(image, scale=80, stride_px=s) for s in (32, 8))
    assert fine.shape == ((80 - 64) // 8 + 1, (103 - 64) // 8 + 1, 4)
    np.testing.assert_allclose(fine[::4, ::4], coarse, atol=1e-4)
    for row, column in ((0, 1), (1, 2), (2, 3)):
        theirs = scores(net, pixels[8 * row :, 8 * column :])
        ours = fine[row::4, column::4]
        np.testing.assert_allclose(ours, theirs[: len(ours), : ours.shape[1]], atol=1e-4)


def test_the_default_scale_is_the_mean(net):
    image = photo(64, 64)
    np.testing.assert_array_equal(net.score_map(image), net.score_map(image, scale=82))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros((64, 64, 3), np.float32),
    ],
)
def test_what_is_no_rgb_image_is_named(image):
    # `posteriors` isn't called, because in tests its annotations refuse the image first.
    with pytest.raises(UserError, match=r"Image 1 is .*, not uint8 RGB"):
        trained_net.to_pillow(image, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda net, image: net.posteriors([image], scales=(63,)),
        lambda net, image: net.score_map(image, scale=63),
    ],
)
def test_q_below_the_crop_is_refused(net, call):
    with pytest.raises(UserError, match="Q=63 is below the net's crop of 64 px"):
        call(net, photo(70, 70))


MISTAKES = [
    ("net.posteriors([image], scales=64)", "scales=64 must be a list"),
    ("net.posteriors([image], scales='64')", "scales='64' must be a list"),
    ("net.posteriors([image], scales=np.array(64))", "scales=array(64) must be a list"),
    ("net.posteriors([image], scales=[64.0])", "scales=64.0 must be whole numbers, each once, for"),
    ("net.posteriors([image], method=None)", "method=None must be one of dense"),
    ("net.posteriors([image], method=['dense'])", "method=['dense'] must be one of dense"),
    ("net.posteriors([image], batch_px='1')", "batch_px='1' must be a number"),
    ("net.posteriors([image], batch_px=-1)", "batch_px=-1 must be a number"),
    ("net.posteriors(Image.fromarray(image))", "The images are a list, also a single one"),
    ("net.posteriors('photo.jpg')", "The images are a list, also a single one"),
    ("net.score_map(image, stride_px=32.0)", "stride_px=32.0 must be 32, 16, 8, 4, 2 or 1"),
    ("net.score_map(image, scale='64')", "scale='64' must be a whole number of px: scale=256."),
    ("net(image[None][:0])", "of shape (0, 64, 64, 3). Give an array of RGB"),
    ("net(image[None], train=True, dropout_key=0)", "train=True needs dropout_key, for instance"),
    ("net(image[None], train=True, dropout_key=np.int64(1))", "train=True needs dropout_key"),
    ("net(image[None], train=True, dropout_key=two_keys)", "one key for the batch."),
    ("net.features(image[None], [['fc7']])", "features are a list: ['fc7'], not [['fc7']]."),
    ("net.features(image[None], 3)", "The names of features are a list: ['fc7'], not 3."),
    ("vgg_jax.load(None)", "workdir=None must be the path of a run's folder"),
    ("vgg_jax.load(b'a')", "workdir=b'a' must be the path"),
    ("vgg_jax.load('')", "workdir='' must be the path"),
]


def test_arguments_of_another_kind_are_refused_without_a_traceback_of_python(trained):
    """Another process makes the mistakes, because annotations aren't checked there."""
    made = small_runs.run_python(
        "-c",
        "import sys\nimport jax\nimport numpy as np\nfrom PIL import Image\nimport vgg_jax\n"
        "from vgg_jax.errors import UserError\n"
        "net, image = vgg_jax.load(sys.argv[1]), np.zeros((64, 64, 3), np.uint8)\n"
        "two_keys = jax.random.split(jax.random.key(0))\n"
        f"for mistake in {[mistake for mistake, _ in MISTAKES]!r}:\n"
        "    try: eval(mistake)\n"
        "    except UserError as error: print('UserError', error)\n"
        "    else: print('taken')",
        trained,
    )
    assert made.returncode == 0, made.stderr
    for line, (mistake, says) in zip(made.stdout.splitlines(), MISTAKES, strict=True):
        assert line.startswith("UserError "), (mistake, line)
        assert says in line, mistake


def test_strides_that_pooling_cannot_give(net):
    with pytest.raises(UserError, match="stride_px=12"):
        net.score_map(photo(70, 70), stride_px=12)


def test_a_replaced_model_is_the_one_that_computes(net):
    image = photo(75, 133)
    other = changed(net, model=dataclasses.replace(net.model, pooling="ceil"))
    before = net.posteriors([image], scales=(75,))
    assert np.abs(other.posteriors([image], scales=(75,)) - before).max() > 1e-4


def test_the_digest_is_of_the_parameters(net):
    other = jax.tree.map(lambda x: x, net.params)
    assert changed(net, params=other).digest() == net.digest()
    other["fc8"]["bias"] = other["fc8"]["bias"].at[0].add(jnp.float32(1e-6))
    assert changed(net, params=other).digest() != net.digest()


def test_a_workdir_without_a_run_gives_no_net(tmp_path):
    with pytest.raises(UserError, match="no checkpoint of a run"):
        vgg_jax.load(tmp_path)
    run_config.save(mini.get_config("a_256"), tmp_path)
    with pytest.raises(UserError, match="no checkpoint of a run"):
        vgg_jax.load(tmp_path)


def test_a_net_is_loaded_without_what_only_training_and_batches_need():
    heavy = {"grain", "matplotlib", "tensorboardX", "tensorflow_datasets", "torch"}
    code = "import sys, vgg_jax; vgg_jax.load; print(*sys.modules)"
    done = small_runs.run_python("-c", code)
    loaded = set(done.stdout.split())
    assert "jax" in loaded, done.stderr
    assert not heavy & loaded


def test_an_overlay_has_each_class_where_its_windows_are():
    """Windows overlap by half: each class fades out over the middle window, which has neither."""
    maps = np.zeros((1, 3, 2))
    maps[0, 0, 0] = maps[0, 2, 1] = 1
    seen = class_maps.spread(maps, (8, 17), 8, 4)
    assert seen.shape == (8, 17, 2)
    assert (seen[:, :4, 0] == 1).all()
    assert (seen[:, 12:, 1] == 1).all()
    assert (seen[:, 8:, 0] == 0).all()
    assert (np.diff(seen[0, :, 0]) <= 1e-12).all()


@pytest.mark.parametrize(("crop_px", "stride_px"), [(32, 4), (224, 16), (256, 32), (512, 32)])
def test_an_overlay_takes_a_stride_that_pooling_can_give(net, monkeypatch, crop_px, stride_px):
    taken = []

    def score_map(net, image, *, scale, stride_px):
        taken.append(stride_px)
        return np.zeros((1, 1, 4), np.float32)

    monkeypatch.setattr(trained_net.TrainedNet, "score_map", score_map)
    wide = changed(net, model=dataclasses.replace(net.model, crop_px=crop_px))
    class_maps.around_pixels(wide, photo(crop_px, crop_px), np.array([0]), scale=crop_px)
    assert taken == [stride_px]


@pytest.mark.parametrize("size", [(64, 64), (90, 200), (500, 64)])
def test_an_overlay_is_drawn(net, tmp_path, size):
    image = photo(*size)
    maps = class_maps.around_pixels(net, image, np.array([1, 0]), scale=64)
    assert maps.shape == (*(round(64 * side / min(size)) for side in size), 2)
    for suffix in ("png", "pdf"):
        drawn = score_map.figure(image, maps, ["b 60%", "a 40%"])
        picture_file.write(drawn, tmp_path / f"map.{suffix}", dpi=120)
    with images.Image.open(tmp_path / "map.png") as drawn:
        assert min(drawn.size) > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.pdf", "map.png"]
