"""The corner plots: what they show of weighted points, and where they go."""

import logging
from types import SimpleNamespace

import autofit as af
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.showing import corner_plot
from autofit.non_linear.search.nest.nss.showing.corner_plot import _ticks, corner_figure, draw_corners
from matplotlib.collections import PathCollection
from PIL import Image


@pytest.fixture(scope="module")
def weighted_points():
    """From a broad Gaussian, weighted as a narrow, correlated one."""
    rng = np.random.default_rng(0)
    points = 3.0 * rng.normal(size=(60_000, 2))
    inverse = np.linalg.inv([[1.0, 0.8], [0.8, 1.0]])
    log_weights = -0.5 * np.einsum("ni,ij,nj->n", points, inverse, points) + 0.5 * (points**2).sum(axis=1) / 9.0
    return points, np.exp(log_weights)


def draw(points, weights):
    return corner_figure(points, weights, [f"$x_{i}$" for i in range(points.shape[1])]).axes[0]


def regions_of(canvas):
    return next(each for each in canvas.collections if isinstance(each, PathCollection)).get_paths()


def test_the_regions_hold_so_much_of_the_posterior(weighted_points):
    points, weights = weighted_points
    canvas = draw(points, weights)
    scatter = next(line for line in canvas.get_lines() if len(line.get_xdata()) == 1_000)
    x, y = np.array(scatter.get_data())  # the panel of (1, 0), mirrored
    below = np.column_stack([y - 1.0, x - 1.0])
    of_points = sum(path.contains_points(below).astype(int) for path in regions_of(canvas))
    assert np.mean(of_points == 2) == pytest.approx(0.68, abs=0.05)
    assert np.mean(of_points > 0) == pytest.approx(0.95, abs=0.03)


def test_the_points_shown_are_those_of_the_posterior(weighted_points):
    canvas = draw(*weighted_points)
    scatter = next(line for line in canvas.get_lines() if len(line.get_xdata()) == 1_000)
    assert np.corrcoef(scatter.get_data())[0, 1] == pytest.approx(0.8, abs=0.05)


def test_every_panel_is_where_its_parameters_are():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(2_000, 3)) * [1.0, 1e-6, 1e6] + [0.0, 1.6, -1e9]
    canvas = draw(points, np.ones(2_000))
    panels = {tuple(np.floor(path.vertices.mean(axis=0)).astype(int)) for path in regions_of(canvas)}
    assert panels == {(0, 0), (0, 1), (1, 0)}
    centres = sorted(tuple(np.floor(np.mean(line.get_data(), axis=1)).astype(int)) for line in canvas.get_lines())
    assert centres == [(0, 2), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("window", "texts"),
    [
        ((-3.2, 3.2), ["-2.5", "0", "2.5"]),
        ((0.94, 1.54), ["1", "1.25", "1.5"]),
        ((1.59951, 1.60049), ["1.5996", "1.6", "1.6004"]),
        ((2.1e8, 3.9e8), ["2.4e+08", "3e+08", "3.6e+08"]),
    ],
)
def test_ticks_tell_values_apart(window, texts):
    assert [text for _, text in _ticks(*window)] == texts


def test_a_parameter_that_does_not_vary_is_drawn():
    points = np.column_stack([np.random.default_rng(2).normal(size=500), np.full(500, 7.0)])
    assert "7.5" in [label.get_text() for label in draw(points, np.ones(500)).get_xticklabels()]


@pytest.mark.parametrize(
    ("whole", "components", "expected"),
    [
        (True, True, {"corner_anesthetic.png", "corner_anesthetic_a.png", "corner_anesthetic_b.png"}),
        (True, False, {"corner_anesthetic.png"}),
        (False, False, set()),
    ],
)
def test_the_host_s_config_says_which_there_are(whole, components, expected, tmp_path, monkeypatch):
    plots = af.conf.instance["visualize"]["plots_search"]["nest"]
    monkeypatch.setitem(plots, "corner_anesthetic", whole)
    monkeypatch.setitem(plots, "corner_anesthetic_components", components)
    model = af.Collection(a=af.Model(af.ex.Gaussian), b=af.Model(af.ex.Gaussian))
    points = np.random.default_rng(3).normal(size=(300, model.prior_count))
    draw_corners(
        SimpleNamespace(model=model, parameter_lists=points.tolist(), weight_list=[1.0] * len(points)), tmp_path
    )
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_a_picture_is_bounded_and_says_what_it_leaves_out(tmp_path, monkeypatch, caplog):
    for bound, value in (("MAX_PARAMETERS", 2), ("MAX_PIXELS", 500), ("MAX_COMPONENTS", 3)):
        monkeypatch.setattr(corner_plot, bound, value)
    monkeypatch.setitem(af.conf.instance["visualize"]["plots_search"]["nest"], "corner_anesthetic", True)
    drawn = []
    monkeypatch.setattr(corner_plot, "corner_figure", lambda *given: drawn.append(given) or corner_figure(*given))
    model = af.Collection(**{name: af.Model(af.ex.Gaussian) for name in "abcd"})
    points = np.random.default_rng(4).normal(size=(300, model.prior_count))
    with caplog.at_level(logging.INFO):
        draw_corners(
            SimpleNamespace(model=model, parameter_lists=points.tolist(), weight_list=[1.0] * len(points)), tmp_path
        )
    whole = tmp_path / "corner_anesthetic.png"
    assert {path.stem[len(whole.stem) :] for path in tmp_path.iterdir()} == {"", "_a", "_b", "_c"}
    assert max(Image.open(whole).size) == 500
    shown, _, labels, title = drawn[0]
    assert np.array_equal(shown, points[:, :2])
    assert labels == model.parameter_labels_with_superscripts_latex[:2]
    assert corner_figure(*drawn[0]).axes[0].get_title() == title
    assert f"corner_anesthetic.png shows the {title}" in caplog.text
    assert title == "posterior, the first 2 of 12 parameters"
    assert "The first 3 of 4 components have a corner plot" in caplog.text
