"""The corner plots: what of weighted points they show, and where they go."""

import logging
from types import SimpleNamespace

import autofit as af
import corner
import numpy as np
import pytest
from autofit.non_linear.search.nest.nss.showing import corner_plot
from autofit.non_linear.search.nest.nss.showing.corner_plot import draw_corners
from PIL import Image


@pytest.fixture
def corner_py(monkeypatch):
    """The arguments of each call of corner.py's function, which is called."""
    calls, draw = [], corner.corner

    def call(points, **options):
        calls.append({"points": points, **options})
        return draw(points, **options)

    monkeypatch.setattr(corner, "corner", call)
    monkeypatch.setitem(af.conf.instance["visualize"]["plots_search"]["nest"], "corner_anesthetic", True)
    return calls


def samples_of(model, points, weights):
    return SimpleNamespace(model=model, parameter_lists=points.tolist(), weight_list=weights.tolist())


def test_the_posterior_fills_the_panels_and_not_the_prior(corner_py, tmp_path):
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-100.0, 100.0, (50_000, 2)), np.full(50_000, 7.0)])
    weights = np.exp(-0.5 * (points[:, :2] ** 2).sum(axis=1))
    draw_corners(samples_of(af.Model(af.ex.Gaussian), points, weights), tmp_path)
    (call,) = corner_py
    assert np.array_equal(call["points"], points)
    assert np.array_equal(call["weights"], weights)
    assert np.all(np.abs(call["range"][:2]) < 6.0)
    assert np.all(np.abs(call["range"][:2]) > 2.0)
    assert call["range"][2] == (3.5, 10.5)  # one that does not vary
    assert max(Image.open(tmp_path / "corner_anesthetic.png").size) > 300


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
    draw_corners(samples_of(model, points, np.ones(300)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_samples_that_are_worth_too_few_are_not_drawn(corner_py, tmp_path, caplog):
    """As early in a run."""
    weights = np.r_[1.0, np.full(299, 1e-9)]
    points = np.random.default_rng(4).normal(size=(300, 3))
    with caplog.at_level(logging.INFO):
        draw_corners(samples_of(af.Model(af.ex.Gaussian), points, weights), tmp_path)
    assert not corner_py
    assert "corner_anesthetic.png is not drawn" in caplog.text


def test_a_host_that_knows_no_components_is_no_error(corner_py, tmp_path):
    model = SimpleNamespace(prior_count=1, parameter_labels_with_superscripts_latex=["x"])
    draw_corners(samples_of(model, np.random.default_rng(4).normal(size=(300, 1)), np.ones(300)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["corner_anesthetic.png"]


def test_a_picture_is_bounded_and_says_what_it_leaves_out(corner_py, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(corner_plot, "MAX_PARAMETERS", 2)
    monkeypatch.setattr(corner_plot, "MAX_COMPONENTS", 3)
    monkeypatch.setattr(corner_plot, "MAX_PIXELS", 400)
    model = af.Collection(**{name: af.Model(af.ex.Gaussian) for name in "abcd"})
    points = np.random.default_rng(4).normal(size=(300, model.prior_count))
    with caplog.at_level(logging.INFO):
        draw_corners(samples_of(model, points, np.ones(300)), tmp_path)
    assert max(Image.open(tmp_path / "corner_anesthetic.png").size) == 400
    names = {path.stem.removeprefix("corner_anesthetic") for path in tmp_path.iterdir()}
    assert names == {"", "_a", "_b", "_c"}
    assert np.array_equal(corner_py[0]["points"], points[:, :2])
    assert corner_py[0]["labels"] == model.parameter_labels_with_superscripts_latex[:2]
    title = corner_py[0]["fig"].get_suptitle()
    assert title == "The first 2 of 12 parameters"
    assert f"corner_anesthetic.png shows {title.lower()}" in caplog.text
    assert "The first 3 of 4 components have a corner plot" in caplog.text
