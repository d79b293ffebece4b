"""The corner plots of a result, by corner.py, in place of the host's, which take minutes for 20 parameters. A picture
has a size that a person can look at, whatever the model: what it leaves out is said in it and in the log."""

import logging
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from autofit import conf
from autofit.non_linear.plot.plot_util import log_plot_exception, skip_in_test_mode
from matplotlib.figure import Figure

from ..evidence.mixture import effective_number

logger = logging.getLogger(__name__)

# Of a picture: its time grows with the square of the parameters, its memory with that of the pixels.
MAX_PARAMETERS, MAX_PIXELS = 20, 4_000
# Of a model, that have a picture of their own.
MAX_COMPONENTS = 20
OTHERS = "autofit.plot.corner_anesthetic(samples, parameter_indices=[...]) draws others."
LOOK: dict[str, Any] = dict(levels=(0.68, 0.95), smooth=1.0, bins=30, max_n_ticks=3, quiet=True)
LOOK |= dict(plot_datapoints=False, plot_density=False, no_fill_contours=True)


def draw_corners(samples: Any, path: Path) -> None:
    """
    Draw what the host's config asks for into a folder: all parameters, and those of each component of a model of
    several.
    """
    plots = conf.instance["visualize"]["plots_search"]["nest"]
    wanted = plots["corner_anesthetic"]
    if wanted:
        corner_anesthetic(samples, path / "corner_anesthetic.png", list(range(samples.model.prior_count)))
    with suppress(KeyError):  # in the config of an older host: then as the whole
        wanted = plots["corner_anesthetic_components"]
    groups = getattr(samples.model, "parameter_indices_by_component", {})
    if not wanted or len(groups) < 2:
        return
    for name, indices in islice(groups.items(), MAX_COMPONENTS):
        corner_anesthetic(samples, path / f"corner_anesthetic_{name}.png", list(indices))
    if len(groups) > MAX_COMPONENTS:
        told = "The first %d of %d components have a corner plot of their own; %s"
        logger.info(told, MAX_COMPONENTS, len(groups), OTHERS)


@skip_in_test_mode
@log_plot_exception
def corner_anesthetic(samples: Any, file: Path, indices: list[int]) -> None:
    """One of them, by the name that the host's log gives it, of the parameters with these indices."""
    from corner import corner

    shown, title = indices[:MAX_PARAMETERS], ""
    weights = np.asarray(samples.weight_list)
    if effective_number(weights) <= len(shown):
        logger.info("%s is not drawn: the samples are worth too few for %d parameters.", file.name, len(shown))
        return
    if len(shown) < len(indices):
        title = f"The first {len(shown)} of {len(indices)} parameters"
        logger.info("%s shows %s; %s", file.name, title.lower(), OTHERS)
    labels = samples.model.parameter_labels_with_superscripts_latex
    points, labels = np.asarray(samples.parameter_lists)[:, shown], [labels[index] for index in shown]
    drawn = np.random.default_rng(0).choice(points, 1_000, p=weights / weights.sum())
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    margin = np.where(high > low, 0.0, 0.5 * np.maximum(np.abs(low), 1e-300))  # corner.py takes no empty range
    size, ranges = 2.1 * len(shown) + 1.3, list(zip(low - margin, high + margin, strict=True))
    figure = Figure(figsize=(size, size))
    corner(points, weights=weights, labels=labels, range=ranges, fig=figure, **LOOK)
    figure.suptitle(title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=min(100.0, MAX_PIXELS / size))
