"""Runs and results as arrays, for those processes of a fit that do not see the files of the first."""

import json
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import jax
import numpy as np
from autofit.non_linear.samples.sample import Sample
from autonerves.dictable import from_dict, to_dict
from blackjax.ns.base import NSInfo

from .evidence.draws import Batch, drawn
from .evidence.mixture import Mixture
from .samples import NSSamples
from .sampling import kernel, records
from .sampling.run import Run, Scouted

COLUMNS = ("parameter_lists", "log_likelihood_list", "log_prior_list", "weight_list")


def arrays_of_run(run: Run) -> list[np.ndarray]:
    """A checkpointed run as arrays, for processes that do not see its files."""
    draws = [Batch(np.asarray(stage), *draws) for stage, draws in enumerate(drawn(run.draws))]
    counts = len(draws), len(run.densities)
    notes = [run.iteration, run.seconds, run.fingerprint, run.scouted, *counts]
    dead = [jax.tree.map(lambda *blocks: np.concatenate(blocks), *run.dead)] if run.dead else []
    trees = run.run_key, run.state, dead, draws, run.densities
    return [np.array(json.dumps(notes, default=lambda number: number.item())), *jax.tree.leaves(trees)]


def run_from(arrays: Sequence[np.ndarray], init: Callable) -> Run | None:
    """The run of ``arrays_of_run``, ``None`` if there are none; ``init`` is the sampler's."""
    if not arrays:
        return None
    notes, *leaves = arrays
    iteration, seconds, fingerprint, scouted, n_draws, n_densities = json.loads(notes.item())
    state = kernel.shape_of_state(init, fingerprint["settings"]["n_live"], len(fingerprint["parameters"]))
    leaf = np.empty(0)
    dead, density = NSInfo(state.particles, records.RECORD_TYPES), Mixture(leaf, leaf, leaf)
    draws = [Batch(leaf, density, leaf, leaf)] * n_draws
    trees = leaf, state, [dead] * (iteration > 0), draws, (density,) * n_densities
    run_key, state, dead, draws, densities = jax.tree.unflatten(jax.tree.structure(trees), leaves)
    scouted = Scouted(*scouted) if scouted else None
    return Run(state, dead, run_key, iteration, seconds, fingerprint, draws, densities=densities, scouted=scouted)


def arrays_of_result(result: Any) -> list[np.ndarray]:
    """The samples of a finished fit and their summary as arrays, for processes that do not see its files."""
    samples, summary = result.samples, copy(result.samples_summary)
    summary.model = None
    text = np.array(json.dumps([to_dict(summary), samples and samples.samples_info]))
    return [text, *(np.array(getattr(samples, name)) for name in COLUMNS)] if samples else [text]


def finished_from(arrays: Sequence[np.ndarray], model: Any) -> tuple[Any, NSSamples | None]:
    """The summary and the samples, if there are any, of ``arrays_of_result``."""
    text, *columns = arrays
    summary, info = json.loads(text.item())
    summary: Any = from_dict(summary)
    summary.model = model
    if not columns:
        return summary, None
    return summary, NSSamples(model, Sample.from_lists(model, *(column.tolist() for column in columns)), info)
