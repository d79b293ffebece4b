"""The corner plots of a result: the host's picture, file names and style, without its wait.

The host makes an axes for each pair of parameters, and pandas labels all of them again for each pair, which takes
minutes for 20 parameters. Here all panels are squares on one canvas, on which anesthetic draws the same densities.
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
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

logger = logging.getLogger(__name__)

# Of a picture. Time grows with the square of the parameters, and memory with that of the pixels.
MAX_PARAMETERS, MAX_PIXELS = 20, 4_000
# Of one fit.
MAX_COMPONENTS = 20
# More points change no panel that anybody can see.
MAX_POINTS = 1_000
OTHERS = "autofit.plot.corner_anesthetic(samples, parameter_indices=[...]) draws others."
MARGIN = 0.05
GRID_POINTS = 500
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
    figure.savefig(file, dpi=min(figure.dpi, MAX_PIXELS / figure.get_figwidth()))


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
    from anesthetic.plot import kde_contour_plot_2d, kde_plot_1d

    style = conf.instance["visualize"]["plots_settings"]["corner_anesthetic"]
    weights = weights / weights.sum()
    number = int(min(MAX_POINTS, 1.0 / np.sum(weights**2)))
    drawn = points[np.random.default_rng(0).choice(len(points), max(2, number), p=weights)]
    low, high = _windows(drawn)
    panel, of_panel = (drawn - low) / (high - low), (points - low) / (high - low)
    n_dim = points.shape[1]

    size = n_dim * style["figsize_per_parammeter"]
    figure = Figure(figsize=(size, size), facecolor=style["facecolor"])
    FigureCanvasAgg(figure)
    canvas = figure.subplots()
    look: dict[str, Any] = dict(color=COLOUR, alpha=style["alpha"])
    for row, column in product(range(n_dim), repeat=2):
        bottom = n_dim - 1 - row
        frame = canvas.add_patch(Rectangle((column, bottom), 1.0, 1.0, fill=False, linewidth=0.8))
        x, y = column + panel[:, column], bottom + panel[:, row]
        if column < row:
            kde_contour_plot_2d(canvas, x, y, ngrid_kde=GRID_POINTS, order=0, **look)
        elif column > row:
            canvas.plot(x, y, "o", markersize=1.0, **look)
        else:
            lines: Any = kde_plot_1d(canvas, of_panel[:, row], weights, **look)
            lines[0].set_data(column + lines[0].get_xdata(), bottom + (1.0 - MARGIN) * lines[0].get_ydata())
            lines[0].set_clip_path(frame)
    _label(canvas, low, high, labels, style["fontsize"])
    canvas.legend(
        handles=[Patch(label=title, **look)],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        fontsize=style["fontsize"],
    )
    return figure


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
    gap, font = -4.0 * fontsize, 1.2 * fontsize
    for index, label in enumerate(labels):
        below, beside = (index + 0.5, 0.0), (0.0, n_dim - index - 0.5)
        canvas.annotate(label, below, (0.0, gap), textcoords="offset points", ha="center", va="top", fontsize=font)
        canvas.annotate(
            label,
            beside,
            (gap, 0.0),
            textcoords="offset points",
            ha="right",
            va="center",
            rotation=90.0,
            fontsize=font,
        )


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Where in a panel its ticks are, from 0 to 1, and what they say."""
    values = np.asarray(MaxNLocator(3, prune="both").tick_values(low, high))
    values = values[(values > low) & (values < high)]
    step = np.diff(values).min(initial=high - low)
    digits = 2 + max(0, int(np.ceil(np.log10(np.abs(values).max(initial=step) / step))))
    return [((value - low) / (high - low), f"{value:.{digits}g}") for value in values]
