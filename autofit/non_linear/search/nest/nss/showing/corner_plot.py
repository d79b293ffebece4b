"""The corner plots of a result: the host's file names and sizes, without its wait.

The host makes an axes and estimates a density for each pair of parameters, which takes minutes for 20 parameters.
Here all panels are squares on one canvas, and the regions of all of them are drawn at once, from smoothed histograms.
A picture has a size that a person can look at, whatever the model: what it leaves out is said in it and in the log.
"""

import logging
import warnings
from contextlib import suppress
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from autofit import conf
from autofit.non_linear.plot.plot_util import log_plot_exception, skip_in_test_mode
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

logger = logging.getLogger(__name__)

# Of a picture. Time grows with the square of the parameters, and memory with that of the pixels.
MAX_PARAMETERS, MAX_PIXELS = 20, 3_000
# Of one fit.
MAX_COMPONENTS = 20
# More points change no panel that anybody can see.
MAX_POINTS = 1_000
OTHERS = "autofit.plot.corner_anesthetic(samples, parameter_indices=[...]) draws others."
# From the points to the edges of their panel, in their range, and the bins of that range.
MARGIN, BINS = 0.05, 120
# The width of smoothing for one point, in the range: two thirds of Scott's rule for a Gaussian whose points cover six
# standard deviations, since a narrow ridge is not to be drawn a broad one.
SMOOTHING = 1.0 / 9.0
INNER = (MARGIN / (1.0 + 2.0 * MARGIN), (1.0 + MARGIN) / (1.0 + 2.0 * MARGIN))
REGIONS = (0.95, 0.68)
COLOUR = "C0"


def draw_corners(samples: Any, path: Path) -> None:
    """
    Draw what the host's config asks for: all parameters, and those of each component of a model of several.

    Parameters
    ----------
    samples
        The host's, whose ``model`` names the parameters.
    path
        The folder of the pictures.
    """
    plots = conf.instance["visualize"]["plots_search"]["nest"]
    wanted = plots["corner_anesthetic"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if wanted:
            corner_anesthetic(samples, path / "corner_anesthetic.png", None)
        with suppress(KeyError):  # in the config of an older host: then as the whole
            wanted = plots["corner_anesthetic_components"]
        groups = getattr(samples.model, "parameter_indices_by_component", {})
        if not wanted or len(groups) < 2:
            return
        for name, indices in islice(groups.items(), MAX_COMPONENTS):
            corner_anesthetic(samples, path / f"corner_anesthetic_{name}.png", list(indices))
        if len(groups) > MAX_COMPONENTS:
            logger.info(
                "The first %d of %d components have a corner plot of their own; %s",
                MAX_COMPONENTS,
                len(groups),
                OTHERS,
            )


@skip_in_test_mode
@log_plot_exception
def corner_anesthetic(samples: Any, file: Path, parameter_indices: list[int] | None) -> None:
    """One of them, by the name that the host's log gives it; all parameters if no indices are given."""
    labels = samples.model.parameter_labels_with_superscripts_latex
    indices = list(range(len(labels))) if parameter_indices is None else parameter_indices
    shown, title = indices[:MAX_PARAMETERS], "posterior"
    if len(shown) < len(indices):
        title += f", the first {len(shown)} of {len(indices)} parameters"
        logger.info("%s shows the %s; %s", file.name, title, OTHERS)
    points = np.asarray(samples.parameter_lists)[:, shown]
    figure = corner_figure(points, np.asarray(samples.weight_list), [labels[index] for index in shown], title)
    file.parent.mkdir(parents=True, exist_ok=True)
    dpi = min(figure.dpi, MAX_PIXELS / figure.get_figwidth())
    figure.savefig(file, dpi=dpi, pil_kwargs={"compress_level": 1})  # the others take three times as long


def corner_figure(points: np.ndarray, weights: np.ndarray, labels: list[str], title: str = "posterior") -> Figure:
    """
    Credible regions of 68% and 95% below the diagonal, equally weighted points above.

    Parameters
    ----------
    points
        ``(n, n_dim)`` float.
    weights
        ``(n,)`` float, of any sum.
    labels
        ``n_dim`` names, as matplotlib's mathtext.
    title
        What is shown.
    """
    style = conf.instance["visualize"]["plots_settings"]["corner_anesthetic"]
    weights = weights / weights.sum()
    number = max(2, int(min(MAX_POINTS, 1.0 / np.sum(weights**2))))
    drawn = points[np.random.default_rng(0).choice(len(points), number, p=weights)]
    low, high = _windows(drawn)
    panel, of_panel = (drawn - low) / (high - low), ((points - low) / (high - low)).T
    n_dim = points.shape[1]
    look: dict[str, Any] = dict(color=COLOUR, alpha=style["alpha"])

    size, font = n_dim * style["figsize_per_parammeter"], style["fontsize"] / 72.0
    whole = size + 8.5 * font
    figure = Figure(figsize=(whole, whole), facecolor=style["facecolor"])
    canvas = figure.add_axes((5.5 * font / whole, 5.5 * font / whole, size / whole, size / whole))
    regions: list[Outline] = []
    for row, column in product(range(n_dim), repeat=2):
        corner = np.array([column, n_dim - 1 - row])
        if column < row:
            regions += _regions(_density(of_panel[[row, column]], weights), corner)
        elif column > row:
            canvas.plot(*(corner + panel[:, [column, row]]).T, "o", markersize=1.0, **look)
        else:
            density = _density(of_panel[[row]], weights)
            line = np.column_stack([np.linspace(*INNER, BINS), (1.0 - MARGIN) * density / density.max()])
            canvas.plot(*(corner + line).T, **look)
    canvas.add_collection(PathCollection(regions, facecolor=COLOUR, alpha=0.5 * style["alpha"]))
    for lines in (canvas.hlines, canvas.vlines):
        lines(range(n_dim + 1), 0.0, n_dim, color="black", linewidth=0.8, clip_on=False)
    _label(canvas, low, high, labels, style["fontsize"])
    canvas.set_title(title, fontsize=style["fontsize"])
    return figure


def _density(of_panel: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``BINS`` times ``BINS`` of the density of ``(2, n)`` points in a panel from 0 to 1; ``BINS`` of ``(1, n)``."""
    number, n_dim = 1.0 / np.sum(weights**2), len(of_panel)
    counts, _ = np.histogramdd(of_panel.T, bins=BINS, range=[INNER] * n_dim, weights=weights)
    return gaussian_filter(counts, BINS * SMOOTHING * number ** (-1.0 / (4 + n_dim)), mode="reflect")


def _regions(density: np.ndarray, corner: np.ndarray) -> list[Outline]:
    """The smallest regions that hold ``REGIONS`` of the density, in the panel with this lower left ``corner``."""
    falling = np.sort(density, axis=None)[::-1]
    held = np.cumsum(falling) / falling.sum()
    x, y = corner[:, None] + np.linspace(*INNER, BINS)
    contours = contour_generator(x, y, density, fill_type="OuterCode")
    levels = falling[np.searchsorted(held, REGIONS)]
    found = [contours.filled(level, np.inf) for level in levels]
    return [Outline(*outline) for outlines in found for outline in zip(*outlines, strict=True)]


def _windows(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is shown of each parameter: all points, and a margin."""
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    margin = np.where(high > low, MARGIN * (high - low), 0.5 * np.maximum(np.abs(high), 1e-300))
    return low - margin, high + margin


def _label(canvas: Axes, low: np.ndarray, high: np.ndarray, labels: list[str], fontsize: float) -> None:
    """Ticks and names of the parameters, at the left and below."""
    n_dim = len(labels)
    ticks = [_ticks(*window) for window in zip(low, high, strict=True)]
    across = [(column + place, text) for column in range(n_dim) for place, text in ticks[column]]
    upwards = [(n_dim - 1 - row + place, text) for row in range(n_dim) for place, text in ticks[row]]
    canvas.set(xlim=(0.0, n_dim), ylim=(0.0, n_dim), aspect="equal")
    canvas.set_xticks(*zip(*across, strict=True), rotation=45.0, fontsize=fontsize)
    canvas.set_yticks(*zip(*upwards, strict=True), rotation=45.0, fontsize=fontsize)
    gap = -4.0 * fontsize
    text: dict[str, Any] = dict(textcoords="offset points", fontsize=1.2 * fontsize)
    for index, label in enumerate(labels):
        canvas.annotate(label, (index + 0.5, 0.0), (0.0, gap), ha="center", va="top", **text)
        canvas.annotate(label, (0.0, n_dim - index - 0.5), (gap, 0.0), ha="right", va="center", rotation=90.0, **text)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Where in a panel its ticks are, from 0 to 1, and what they say."""
    values = np.asarray(MaxNLocator(3, prune="both").tick_values(low, high))
    values = values[(values > low) & (values < high)]
    step = np.diff(values).min(initial=high - low)
    digits = 2 + max(0, int(np.ceil(np.log10(np.abs(values).max(initial=step) / step))))
    return [((value - low) / (high - low), f"{value:.{digits}g}") for value in values]
