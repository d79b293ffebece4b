"""``nss_run.png``: a run at a glance, for people who read plots rather than logs. Matplotlib alone, and no pyplot,
which must not be used from two threads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.special import betaincinv

from ..evidence.trust import evolution, iterations_left, log_volume_of_deaths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..evidence.trust import Evolution
    from ..sampling.records import ChainRecord
    from ..sampling.run import Points

# Okabe & Ito's colours, told apart by everybody.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"
MAX_MARKERS = 2_000
# How many nats below its last value the log evidence is shown from, and which share of the run in any case.
EVIDENCE_SHOWN, LEAST_SHOWN = 12.0, 0.2


def draw_run(
    path: Path,
    points: Points,
    chains: ChainRecord,
    termination: float,
    rng: np.random.Generator,
    found: dict,
) -> None:
    """
    Draw the run so far as a PNG. At the end ``found`` holds ``log_evidence_importance`` and ``log_evidence_excess``,
    as in ``samples_info``.
    """
    run = evolution(points, rng)
    figure = Figure(figsize=(11.0, 6.0))
    axes = figure.subplots(2, 3)
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.09, top=0.88, wspace=0.25, hspace=0.4)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    _draw_points(axes[0, 0], points)
    _draw_evidence(axes[0, 1], run, found.get("log_evidence_importance"))
    _draw_criterion(axes[0, 2], run, termination, points)
    _draw_evaluations(axes[1, 0], chains.evaluations.reshape(-1, points.num_delete))
    _draw_ranks(axes[1, 1], chains.rank[chains.rank >= 0], points.n_live)
    _draw_jumps(axes[1, 2], chains.jump.reshape(-1, points.num_delete), found.get("log_evidence_excess"))
    ended = "converged" if run.remaining[-1] < termination else "still running"
    figure.suptitle(
        f"{points.iterations:,} iterations, {len(points.log_likelihood):,} points, {ended}; log evidence "
        f"{run.log_evidence[-1]:.2f} ± {run.log_evidence_error[-1]:.1f}",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)


def _draw_points(ax: Axes, points: Points) -> None:
    """The live points lie where they will die, if the likelihood rose no further."""
    n_dead = len(points.log_likelihood) - points.n_live
    compression = -log_volume_of_deaths(points)
    live = np.sort(points.log_likelihood[n_dead:])
    compression_of_live = compression[-1] + np.cumsum(1.0 / np.arange(points.n_live, 0, -1.0))
    some = np.unique(np.linspace(0, n_dead - 1, MAX_MARKERS).astype(int))
    ax.plot(compression[some], points.log_likelihood[:n_dead][some], ".", ms=2, color=GREY, label="dead")
    ax.plot(compression_of_live, live, ".", ms=2, color=BLUE, label="live")
    # The prior's corners can be a million times less likely than anything of interest.
    low, high = np.quantile(points.log_likelihood[:n_dead], 0.25), live[-1]
    ax.set(xlabel="$-$log prior volume", title="log likelihood")
    if low < high:
        ax.set_ylim(low, high + 0.05 * (high - low))
    ax.legend(frameon=False, markerscale=4, loc="lower right", fontsize=8)


def _draw_evidence(ax: Axes, run: Evolution, second: float | None) -> None:
    low, high = (run.log_evidence + sign * run.log_evidence_error for sign in (-1.0, 1.0))
    ax.fill_between(-run.log_volume, low, high, color=BLUE, alpha=0.3, lw=0.0)
    ax.plot(-run.log_volume, run.log_evidence, color=BLUE)
    last = run.log_evidence[-1]
    shown = run.log_evidence > last - EVIDENCE_SHOWN
    shown[int((1.0 - LEAST_SHOWN) * len(shown)) :] = True
    margin = 0.3 + 2.0 * run.log_evidence_error[-1]
    inside = [last, *run.log_evidence[shown]]
    title = "log evidence, dead and live"
    if second is not None:
        inside.append(second)
        title = f"log evidence; the second {second:.2f}"
        ax.axhline(second, color=ORANGE, ls="--", lw=1.0)
    ax.set(
        xlabel="$-$log prior volume",
        title=title,
        xlim=(-run.log_volume[shown][0], None),
        ylim=(min(inside) - margin, max(inside) + margin),
    )


def _draw_criterion(ax: Axes, run: Evolution, termination: float, points: Points) -> None:
    ax.plot(run.iteration, run.remaining, color=BLUE)
    ax.axhline(termination, color=ORANGE, ls="--", lw=1.0)
    left = iterations_left(run.iteration, run.remaining, termination, points.n_live / points.num_delete)
    title = "evidence to come"
    if run.remaining[-1] < termination:
        title += ": ended"
    elif left is None:
        title += ": end unknown"
    else:
        end = run.iteration[-1] + left
        ax.plot([run.iteration[-1], end], [run.remaining[-1], termination], color=ORANGE, ls=":")
        title += f": ends near {end:,.0f}"
    highest = np.max(run.remaining[np.isfinite(run.remaining)], initial=termination)
    ax.set(xlabel="iteration", title=title)
    if highest > 100.0:
        ax.set_yscale("symlog", linthresh=10.0)
    ax.set_ylim(termination - 0.02 * max(10.0, highest) if highest <= 100.0 else termination - 5.0, None)


def _draw_evaluations(ax: Axes, evaluations: np.ndarray) -> None:
    """The longest chain is what an iteration waits for."""
    iterations = np.arange(1, len(evaluations) + 1)
    some = np.unique(np.linspace(0, len(evaluations) - 1, MAX_MARKERS).astype(int))
    ax.plot(iterations[some], evaluations.mean(axis=1)[some], ".", ms=3, color=BLUE, label="mean")
    ax.plot(iterations[some], evaluations.max(axis=1)[some], ".", ms=2, color=GREY, label="longest")
    ax.set(xlabel="iteration", title="evaluations of a chain", ylim=(0.0, None))
    ax.legend(frameon=False, markerscale=3, loc="lower right", fontsize=8)


def _draw_ranks(ax: Axes, ranks: np.ndarray, n_live: int) -> None:
    """Even if all is well: within the band in nineteen of twenty bins."""
    bins = min(20, n_live)
    counts, edges = np.histogram(ranks / n_live, bins=bins, range=(0.0, 1.0))
    number = max(1, counts.sum())
    low, high = (bins * betaincinv(number / bins, number - number / bins, q) for q in (0.025, 0.975))
    ax.axhspan(float(low), float(high), color=GREY, alpha=0.4, lw=0.0)
    ax.stairs(bins * counts / number, edges, color=BLUE, lw=1.5, baseline=None)
    ax.set(xlabel="insertion rank / live points", title="insertion ranks", xlim=(0.0, 1.0), ylim=(0.0, 2.0))


def _draw_jumps(ax: Axes, jumps: np.ndarray, excess: float | None) -> None:
    """Near one if all is well: chains end as far from where they began as independent points would be."""
    iterations = np.arange(1, len(jumps) + 1)
    some = np.unique(np.linspace(0, len(jumps) - 1, MAX_MARKERS).astype(int))
    ax.axhline(1.0, color=GREY, lw=1.0)
    ax.plot(iterations[some], jumps.mean(axis=1)[some], ".", ms=3, color=BLUE)
    title = "jump of the chains"
    if excess is not None:
        title += f": evidence {excess:+.1f}"
    ax.set(xlabel="iteration", title=title, ylim=(0.0, 1.3))
