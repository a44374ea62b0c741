"""Pictures: what they must show, read from the axes or the pixels."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vgg_jax.plots import (
    cells,
    confusion,
    curves,
    image_grid,
    intervals,
    picture_file,
    reliability,
    score_map,
)


def _axes():
    return Figure(figsize=(6, 6)).subplots()


def test_a_photo_keeps_its_colours_where_the_net_is_surest_and_is_dim_elsewhere():
    image = np.zeros((40, 60, 3), np.uint8)
    image[...] = (200, 100, 0)
    certain = np.zeros((10, 15, 1))
    certain[:, :7] = 0.9
    drawn = score_map.figure(image, certain, ["a 90%"])
    _, of_class = drawn.axes
    pixels = np.asarray(of_class.images[0].get_array())
    height, width = pixels.shape[:2]
    np.testing.assert_allclose(pixels[height // 2, width // 10], (200, 100, 0), atol=1)
    np.testing.assert_allclose(pixels[height // 2, -width // 10], [40] * 3, atol=1)


@pytest.mark.parametrize("highest", [1e-9, 0.03, 1.0])
def test_a_map_is_drawn_however_unsure_the_net_is(tmp_path, highest):
    image = np.full((30, 30, 3), 90, np.uint8)
    maps = highest * np.linspace(0, 1, 64).reshape(8, 8, 1)
    picture_file.write(score_map.figure(image, maps, ["a"]), tmp_path / "map.png", dpi=50)
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_labels_of_contours_lie_within_a_wide_photo_and_the_caption_says_what_they_are():
    maps = np.broadcast_to(np.linspace(0, 1, 60)[None, :, None], (20, 60, 1))
    drawn = score_map.figure(np.zeros((40, 120, 3), np.uint8), maps, ["a"])
    FigureCanvasAgg(drawn).draw()
    _, of_class = drawn.axes
    place = of_class.get_window_extent()
    extents = [label.get_window_extent() for label in of_class.texts]
    assert len(extents) > 1
    assert all(place.y0 < extent.y0 and extent.y1 < place.y1 for extent in extents)
    assert drawn.get_supxlabel() == "Contours: the probability of the class around each pixel."


def test_drops_of_a_constant_rate_are_marked_and_a_cosines_fall_is_not():
    def records(rates):
        return [
            {"epoch": i / 2, "loss": 1, "error": 1, "learning_rate": rate}
            for i, rate in enumerate(rates)
        ]

    assert curves.drops(records([1, 1, 1, 0.1, 0.1, 0.01])) == [1.0, 2.0]
    assert curves.drops(records(np.cos(np.linspace(0, 1.5, 20)) + 1)) == []
    assert curves.drops(records([0, 0.5, 1, 1])) == []
    assert curves.drops([]) == []


def test_a_first_loss_above_all_others_leaves_the_panel_and_drops_are_steps():
    def panels(first, rates=(1.0, 1.0, 0.1)):
        train = [
            {"epoch": i / 2, "loss": loss, "error": 1, "learning_rate": rate}
            for i, (loss, rate) in enumerate(zip((first, 1.5, 1.2), rates, strict=True))
        ]
        val = [{"epoch": 1, "loss": 1.4, "top1_error": 1}]
        loss, _, rate = curves.figure(train, val, with_top5=False).axes
        return loss, rate.get_lines()[0].get_drawstyle()

    loss, drawn = panels(6.3)
    assert loss.get_ylim() == pytest.approx((0, 1.65))
    assert loss.get_ylabel() == "cross entropy (begins at 6.30)"
    assert drawn == "steps-pre"
    loss, drawn = panels(2.0, rates=(1.0, 0.9, 0.8))
    assert loss.get_ylim()[1] > 2
    assert drawn == "default"


def test_rows_have_their_values_intervals_and_names():
    axes = _axes()
    bars = np.array([[10.0, 30], [40, 80]])
    intervals.draw(axes, np.array([20.0, 60]), bars, ["b", "a"])
    intervals.draw(axes, np.array([25.0, np.nan]), None, ["b", "a"], colour="C1")
    ours, _ = axes.get_lines()
    np.testing.assert_array_equal(ours.get_xydata(), [[20, 0], [60, 1]])
    (lines,) = axes.collections
    np.testing.assert_array_equal([s[:, 0] for s in lines.get_segments()], bars)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # The first row is on top.


def test_a_confusion_matrix_shows_shares_of_rows_and_numbers_of_images():
    axes = _axes()
    confusion.draw(axes, np.array([[3, 1], [0, 0]]), ["a", "b"])
    np.testing.assert_array_equal(axes.images[0].get_array(), [[75, 25], [0, 0]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "3"]


def test_bins_without_images_have_no_bar():
    axes = _axes()
    nothing = np.nan
    reliability.draw(
        axes,
        np.array([0, 0.5, 1]),
        np.array([0, 4]),
        np.array([nothing, 0.8]),
        np.array([nothing, 0.75]),
        np.array([[0, 1], [0.3, 0.95]]),
        title="dense",
    )
    (bar,) = axes.patches
    assert (bar.get_x(), bar.get_width(), bar.get_height()) == (0.5, 0.5, 0.75)


def test_lines_divide_a_map_into_its_cells():
    axes = _axes()
    cells.draw(axes, np.zeros((2, 3)))
    assert axes.get_xticks(minor=True).tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert axes.get_yticks(minor=True).tolist() == [-0.5, 0.5, 1.5]
    cells.frame(axes, 0.5, -0.5, 2.0)
    (square,) = axes.patches
    assert square.get_bbox().bounds == (0.5, -0.5, 2, 2)


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (6, (1, 6)), (8, (2, 6))])
def test_a_grid_has_a_cell_per_image(count, shape):
    images = [np.full((20, 30, 3), i, np.uint8) for i in range(count)]
    figure = image_grid.figure(images, [f"image {i}" for i in range(count)])
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    assert [axes.get_title() for axes in figure.axes if axes.images] == [
        f"image {i}" for i in range(count)
    ]
