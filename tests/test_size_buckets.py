"""Plans of batches: where images are placed, and how many pixels are computed for nothing."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgg_jax.evaluation import size_buckets

properties = settings(derandomize=True, deadline=None, max_examples=100, database=None)


def _sizes(lengths, wide, scale):
    """Returns the height and width of images whose shorter side is `scale`."""
    lengths = np.asarray(lengths, np.int32)
    short = np.full_like(lengths, scale)
    tall = np.stack([lengths, short], axis=1)
    return np.where(np.asarray(wide, bool)[:, None], tall[:, ::-1], tall)


def _of_aspects(aspects, scale):
    """Returns the sizes of images whose width is so many times their height."""
    return _sizes(np.rint(scale * np.maximum(aspects, 1 / aspects)), aspects > 1, scale)


def _holding(pixels):
    return lambda height, width: max(1, pixels // (2 * height * width))


def _check(sizes, plan, most_places, multiple=1, even=True):
    """Checks all that every plan promises; returns the number of pixels that it computes."""
    indices = np.concatenate([batch.indices for batch in plan.batches])
    np.testing.assert_array_equal(np.sort(indices[indices >= 0]), np.arange(len(sizes)))
    for batch in plan.batches:
        own = batch.indices[batch.indices >= 0]
        assert len(own)
        assert (sizes[own] <= [batch.height, batch.width]).all()
    assert len(plan.shapes) <= size_buckets.MAX_SHAPES
    assert len({shape[1:] for shape in plan.shapes}) == len(plan.shapes)
    number = Counter(batch.shape for batch in plan.batches)
    for places, height, width in plan.shapes:
        own = sum((b.indices >= 0).sum() for b in plan.batches if b.shape[1:] == (height, width))
        most = max(multiple, most_places(height, width) // multiple * multiple)
        assert places % multiple == 0
        assert places <= most
        if even:
            batches = number[places, height, width]
            assert batches == -(-own // most)
            assert batches * (places - multiple) < own
        else:
            assert places == most
    areas = [batch.height * batch.width for batch in plan.batches]
    assert areas == sorted(areas, reverse=True)
    computed = sum(places * height * width for places, height, width in number.elements())
    assert plan.waste == pytest.approx(1 - sum(h * w for h, w in sizes.tolist()) / computed)
    return computed


def _log_uniform(most, count=2000):
    return np.exp(np.random.default_rng(0).uniform(-np.log(most), np.log(most), count))


def _caltech():
    # Most images are 300 px wide, and their heights vary below that; some are tall.
    rng = np.random.default_rng(1)
    heights = np.clip(rng.normal(220, 50, 1600), 90, 300)
    wide = np.concatenate([300 / heights, np.full(400, 300 / 200)])
    return np.concatenate([wide, np.clip(rng.normal(0.75, 0.1, 400), 0.3, 1)])


ASPECTS = {
    "3:1 both ways": _log_uniform(3),
    "15:1 both ways": _log_uniform(15),
    "Caltech": _caltech(),
    "one size": np.full(2000, 500 / 375),
    "square": np.ones(2000),
    "few": _log_uniform(3, count=60),
}


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize(("scale", "multiple"), [(73, 1), (256, 1), (256, 8), (512, 4)])
@pytest.mark.parametrize("name", ASPECTS)
def test_real_sizes_waste_little(name, scale, multiple, even):
    sizes = _of_aspects(ASPECTS[name], scale)

    def most_places(height, width):
        return _holding(2**22)(height, width) * multiple if even else multiple

    plan = size_buckets.plan(sizes, most_places, multiple=multiple, even=even)
    _check(sizes, plan, most_places, multiple, even)
    assert plan.waste <= 0.25


@pytest.mark.parametrize("aspect", [0.75, 1.0, 4 / 3])
def test_one_size_is_one_shape(aspect):
    plan = size_buckets.plan(_of_aspects(np.full(70, aspect), 256), lambda *_: 10)
    assert len(plan.shapes) == 1
    assert len(plan.batches) == 7
    assert plan.waste == 0


def test_sizes_that_differ_little_share_a_shape():
    sizes = _sizes(range(300, 330), np.ones(30), 256)
    plan = size_buckets.plan(sizes, lambda *_: 30)
    assert plan.shapes == ((30, 256, 329),)
    assert 0 < plan.waste <= size_buckets.ENOUGH_WASTE


def test_of_plans_with_equally_many_shapes_the_least_wasteful_is_chosen(monkeypatch):
    monkeypatch.setattr(size_buckets, "FEW_PX", 0)
    # Two shapes waste 11.9%. Three waste 7.7% if the third is tall, 4.9% if it is wide.
    sizes = np.repeat([[100, 101], [100, 140], [101, 100], [125, 100]], 10, axis=0)
    plan = size_buckets.plan(sizes, lambda *_: 20)
    assert plan.shapes == ((10, 100, 140), (20, 125, 100), (10, 100, 101))
    assert plan.waste == pytest.approx(1 - 467 / 491)


def test_few_pixels_may_waste_more_for_fewer_compilations():
    sizes = np.repeat([[100, 101], [100, 140], [101, 100], [125, 100]], 10, axis=0)
    assert size_buckets.plan(sizes, lambda *_: 20).shapes == ((20, 100, 140), (20, 125, 100))


def test_images_of_a_shape_are_divided_evenly():
    sizes = _of_aspects(np.ones(33), 256)
    assert [len(b.indices) for b in size_buckets.plan(sizes, lambda *_: 16).batches] == [11, 11, 11]
    fixed = size_buckets.plan(sizes, lambda *_: 16, even=False)
    assert [len(b.indices) for b in fixed.batches] == [16, 16, 16]
    assert fixed.batches[-1].indices.tolist() == [32] + [-1] * 15
    assert fixed.waste == pytest.approx(15 / 48)


@pytest.mark.parametrize(("multiple", "places"), [(1, 1), (4, 4)])
@pytest.mark.parametrize("aspect", [0.4, 1.0, 2.5])
def test_one_image(aspect, multiple, places):
    sizes = _of_aspects(np.array([aspect]), 100)
    plan = size_buckets.plan(sizes, lambda *_: 1, multiple=multiple)
    assert plan.shapes == ((places, *sizes[0]),)
    assert plan.batches[0].indices.tolist() == [0] + [-1] * (places - 1)
    assert plan.waste == 1 - 1 / places


def test_no_images_are_no_batches():
    plan = size_buckets.plan(np.zeros((0, 2), np.int32), lambda *_: 1)
    assert (plan.batches, plan.shapes, plan.waste) == ((), (), 0.0)


def _contents(plan):
    return [(batch.shape, batch.indices.tolist()) for batch in plan.batches]


def test_a_plan_is_the_same_each_time():
    sizes = _of_aspects(_log_uniform(4), 256)
    first, again = (size_buckets.plan(sizes, _holding(2**22), multiple=2) for _ in range(2))
    assert _contents(first) == _contents(again)
    # Images of one size keep their order, whatever sorts them.
    for batch in first.batches:
        own = batch.indices[batch.indices >= 0]
        same = (np.diff(sizes[own], axis=0) == 0).all(axis=1)
        assert (np.diff(own)[same] > 0).all()


def test_what_is_done_is_left_out():
    sizes = _of_aspects(_log_uniform(3, count=50), 128)
    plan = size_buckets.plan(sizes, lambda *_: 5)
    done = np.zeros(50, bool)
    assert _contents(plan.without(done)) == _contents(plan)
    first, second = plan.batches[:2]
    done[first.indices[first.indices >= 0]] = True
    done[second.indices[:1]] = True  # A batch with an image left to do stays whole.
    assert _contents(plan.without(done)) == [
        (b.shape, b.indices.tolist()) for b in plan.batches[1:]
    ]
    left = plan.without(~done).batches
    assert [b.shape for b in left] == [first.shape, second.shape]
    assert plan.without(np.ones(50, bool)).batches == ()


# Against every other way to cut the lengths.


def _pixels(group, horizontal, scale, most_places, multiple, even):
    height, width = (scale, max(group)) if horizontal else (max(group), scale)
    most = multiple
    while most + multiple <= most_places(height, width):
        most += multiple
    batches = -(-len(group) // most)
    places = multiple
    while batches * places < len(group):
        places += multiple
    return batches * (places if even else most) * height * width


def _least_by_count(lengths, horizontal, *how):
    """Returns {number of shapes: the fewest pixels}, by trying every cut."""
    lengths = sorted(lengths)
    ends = [i for i in range(1, len(lengths)) if lengths[i] > lengths[i - 1]]
    least = {}
    for count in range(1, min(size_buckets.MAX_SHAPES, len(ends) + 1) + 1):
        for cuts in itertools.combinations(ends, count - 1):
            groups = itertools.pairwise([0, *cuts, len(lengths)])
            pixels = sum(_pixels(lengths[a:b], horizontal, *how) for a, b in groups)
            least[count] = min(pixels, least.get(count, pixels))
    return least


def _best(sizes, *how):
    """Returns the fewest pixels with the fewest shapes that waste little enough, or with any."""
    wide = [w for h, w in sizes.tolist() if w > h]
    tall = [h for h, w in sizes.tolist() if w <= h]
    of_wide, of_tall = (
        _least_by_count(of, horizontal, *how) if of else {0: 0}
        for of, horizontal in ((wide, True), (tall, False))
    )
    least = {}
    for (a, pixels_a), (b, pixels_b) in itertools.product(of_wide.items(), of_tall.items()):
        least[a + b] = min(pixels_a + pixels_b, least.get(a + b, np.inf))
    needed = sum(h * w for h, w in sizes.tolist())
    at_most = [
        min(pixels for count, pixels in least.items() if count <= most)
        for most in range(min(least), size_buckets.MAX_SHAPES + 1)
    ]
    is_little = needed <= size_buckets.FEW_PX
    enough_waste = size_buckets.ENOUGH_WASTE_OF_FEW if is_little else size_buckets.ENOUGH_WASTE
    enough = [pixels for pixels in at_most if 1 - needed / pixels <= enough_waste]
    return enough[0] if enough else at_most[-1]


SCALE = 20
lines = st.lists(
    st.tuples(st.sampled_from([20, 21, 24, 28, 33, 40, 47, 60, 75, 90, 120]), st.booleans()),
    min_size=1,
    max_size=25,
)
budgets = st.sampled_from([1, 2_000, 10_000, 100_000])


@properties
@given(images=lines, pixels=budgets, multiple=st.sampled_from([1, 2, 8]), even=st.booleans())
def test_no_other_cuts_compute_fewer_pixels(images, pixels, multiple, even):
    sizes = _sizes(*zip(*images, strict=True), SCALE)
    most_places = _holding(pixels)
    plan = size_buckets.plan(sizes, most_places, multiple=multiple, even=even)
    computed = _check(sizes, plan, most_places, multiple, even)
    assert computed == _best(sizes, SCALE, most_places, multiple, even)


@properties
@given(
    images=st.lists(st.tuples(st.integers(0, 5000), st.booleans()), min_size=1, max_size=60),
    scale=st.integers(1, 600),
    pixels=st.sampled_from([1, 10**5, 10**7]),
    multiple=st.integers(1, 9),
    even=st.booleans(),
)
def test_any_sizes_have_a_plan(images, scale, pixels, multiple, even):
    lengths, wide = zip(*images, strict=True)
    sizes = _sizes(np.add(lengths, scale), wide, scale)
    plan = size_buckets.plan(sizes, _holding(pixels), multiple=multiple, even=even)
    _check(sizes, plan, _holding(pixels), multiple, even)


def test_a_plan_for_more_lengths_than_it_distinguishes():
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.arange(256, 256 + 3 * size_buckets.MAX_LENGTHS))
    sizes = _sizes(lengths, rng.random(len(lengths)) < 0.5, 256)
    plan = size_buckets.plan(sizes, _holding(2**22))
    _check(sizes, plan, _holding(2**22))
    assert plan.waste <= 0.25
