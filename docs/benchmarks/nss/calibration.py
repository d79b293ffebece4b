"""Whether both evidences lie from the truth as far as their errors say, whether a bad run is told from a good one,
and what averaging the weights is worth.

    python docs/benchmarks/nss/recorded_runs.py runs --seeds 60
    python docs/benchmarks/nss/recorded_runs.py runs --problems sersic mge --seeds 4
    python docs/benchmarks/nss/calibration.py runs
    python docs/benchmarks/nss/calibration.py runs --perfect

For the runs of each problem, the evaluations they took, and the distance of nested sampling's log evidence from the
truth, in nats and in units of its error: mean 0 and standard deviation 1 if it is calibrated (for as many seeds as N,
within about 1/sqrt(N) and 0.7/sqrt(N)). Beside it what tells of it: the jump of the chains, the excess of the log
evidence that it leads to expect, and the shares of the runs that are warned of it, and of uneven insertion ranks.
Where the evidence is not known (*) it is the mean of all second evidences that may be used, weighted by their errors.

Then the same of the second evidence: how many of the runs have one that may be used, their distance from the truth in
nats and in errors, the worst of them, that of importance sampling with the same draws alone, the draws, the effective
samples, and the seconds outside of the likelihood.

With --perfect, for perfect nested sampling of a Gaussian in a ball (no chains: the prior volumes are drawn), the
posterior's mean squared radius relative to the truth, with the weights averaged over the simulated volumes as
``nested.py`` does, and with their logarithms averaged.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import problems  # first: it switches float64 on
import recorded_runs

# isort: split
import numpy as np
from autofit.non_linear.search.nest.nss import results
from autofit.non_linear.search.nest.nss.evidence import importance, trust
from autofit.non_linear.search.nest.nss.evidence.draws import Drawing, Draws, drawn
from autofit.non_linear.search.nest.nss.evidence.importance import SecondEvidence
from autofit.non_linear.search.nest.nss.evidence.nested import (
    Posterior,
    effective_live_points,
    posterior_from,
    simulate_log_shells,
)
from autofit.non_linear.search.nest.nss.plan import LEAST_DRAWS, MOST_DRAWS
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.slices import MOVES

N_DIM, SIGMA, DEPTH = 5, 0.05, 25  # of the perfect runs; their posterior lies e**-11 deep in the prior


class Judged(NamedTuple):
    """What is found of a run: both evidences, and what tells whether to trust the first."""

    evaluations: int
    slices: float
    log_evidence: float
    error: float
    trust: dict
    second: SecondEvidence | None
    seconds: float

    @property
    def warned(self) -> bool:
        found = self.trust | {"insertion_rank_p_value": 1.0, "unmoved_slices": 0.0}
        return bool(trust.doubts_about_run(found, 1, 1))

    @property
    def uneven(self) -> bool:
        return self.trust["insertion_rank_p_value"] < trust.SUSPICIOUS_P_VALUE


def judged_run(
    run: recorded_runs.Recorded,
    log_likelihoods: Callable | None,
    moves: str,
    seed: int,
) -> Judged:
    points = run.points
    posterior = posterior_from(points.log_likelihood, points.birth, np.random.default_rng(seed))
    lineages = MOVES[moves].lineages_of(points.n_live, points.n_dim)
    measures = trust.measures(points, run.chains, lineages)
    log_evidence, simulated = posterior.log_evidences.mean(), posterior.log_evidences.std()
    error = trust.error_with_memory(simulated, measures)
    measures |= {"log_evidence_nested_error": error, "log_evidence_simulated_error": simulated}
    if log_likelihoods is None:
        return Judged(run.evaluations, run.chains.slices.mean(), log_evidence, error, measures, None, 0.0)
    second, _, seconds = second_evidence_of(run, posterior, log_likelihoods, seed=seed)
    return Judged(run.evaluations, run.chains.slices.mean(), log_evidence, error, measures, second, seconds)


def second_evidence_of(
    run: recorded_runs.Recorded, posterior: Posterior, log_likelihoods: Callable, n_eff: int = 0, seed: int = 0
) -> tuple[SecondEvidence, tuple, float]:
    """That of a recorded run as a fit would have it, its samples, and the seconds outside of the likelihood."""
    batches: list[Draws] = []
    points = results.run_points(run, lambda z: z, posterior)
    started, spent = time.perf_counter(), []

    def evaluate(batch: Draws) -> Draws:
        began = time.perf_counter()
        batch = batch._replace(log_likelihood=log_likelihoods(batch.positions))
        spent.append(time.perf_counter() - began)
        return batch

    n_draws = int(np.clip(run.evaluations // 33, LEAST_DRAWS, MOST_DRAWS))
    second = importance.second_evidence(points, Drawing(evaluate, seed, batches), n_draws, n_eff, seed)
    _, kept = points.halves(seed)
    samples = importance.posterior_samples(kept, drawn(batches)[-1], second.log_evidence)
    return second, samples, time.perf_counter() - started - sum(spent)


def log_likelihoods_of(problem: problems.Problem) -> Callable:
    """A function of ``(n, n_dim)`` positions that evaluates as many at once as a fit would, and is compiled once."""
    log_prior, log_likelihood, _ = problem.functions()
    chunk_size = kernel.best_chunk_size_of_a_cpu(log_likelihood, problem.model.prior_count)
    sampler = kernel.nested_slice_sampler(log_prior, log_likelihood, 50, 1, -3.0, chunk_size)

    return sampler.log_likelihoods


def judged_runs(folder: Path, name: str, drawn: int, moves: str) -> tuple[list[Judged], float | None]:
    """The recorded runs of a problem, so many with a second evidence, and its log evidence if it is known."""
    setting = recorded_runs.SETTINGS[name]
    problem = setting.problem()
    log_likelihoods = log_likelihoods_of(problem)
    runs = [
        judged_run(
            recorded_runs.load(folder, name, seed),
            log_likelihoods if seed < drawn else None,
            moves,
            seed,
        )
        for seed in recorded_runs.seeds_of(folder, name)
    ]
    return runs, problem.log_evidence


def rows_of(name: str, runs: list[Judged], truth: float | None) -> tuple[str, str]:
    """A row of the table of nested sampling, and one of that of the second evidence."""
    drawn = [run for run in runs if run.second is not None]
    usable = [run for run in drawn if not run.second.unusable]
    mark = ""
    if truth is None:
        weights = [run.second.error**-2.0 for run in usable]
        truth, mark = np.average([run.second.log_evidence for run in usable], weights=weights), " *"
    setting = recorded_runs.SETTINGS[name]
    off = np.array([run.log_evidence - truth for run in runs])
    z = off / [run.error for run in runs]
    jump, excess = (np.mean([run.trust[key] for run in runs]) for key in ("jump", "log_evidence_excess"))
    first = (
        f"| {name} | {setting.n_live} | {np.mean([run.slices for run in runs]):.0f} "
        f"| {np.mean([run.evaluations for run in runs]):,.0f} | {len(runs)} | {mean_of(off, 2)} "
        f"| {z.mean():+.2f} | {z.std(ddof=1):.2f} | {jump:.2f} | {excess:.2f} "
        f"| {np.mean([run.warned for run in runs]):.0%} | {np.mean([run.uneven for run in runs]):.0%} |"
    )
    if not usable:
        return first, f"| {name}{mark} | 0 of {len(drawn)} |" + " |" * 10
    off = np.array([run.second.log_evidence - truth for run in usable])
    z = off / [run.second.error for run in usable]
    alone = np.array([run.second.by_importance - truth for run in usable])
    alone_z = alone / [run.second.by_importance_error for run in usable]
    error, draws, n_eff = (
        np.mean([getattr(run.second, key) for run in usable]) for key in ("error", "draws", "n_eff")
    )
    second = (
        f"| {name}{mark} | {len(usable)} of {len(drawn)} | {mean_of(off, 3)} | {error:.3f} "
        f"| {z.mean():+.2f} | {z.std(ddof=1):.2f} | {np.abs(z).max():.1f} "
        f"| {mean_of(alone, 3)} | {alone_z.mean():+.2f} | {np.abs(alone_z).max():.1f} | {draws:,.0f} "
        f"| {n_eff:,.0f} | {np.median([run.seconds for run in usable]):.1f} s |"
    )
    return first, second


def mean_of(values: np.ndarray, digits: int) -> str:
    return f"{values.mean():+.{digits}f} ± {values.std(ddof=1) / np.sqrt(len(values)):.{digits}f}"


def perfect_run(rng, n_live: int, log_likelihood) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prior volumes, log likelihoods and births of nested sampling without chains, a point at a time."""
    volume, birth = rng.random(n_live), np.full(n_live, -np.inf)
    dead, births = [], []
    for _ in range(DEPTH * n_live):
        worst = volume.argmax()
        dead.append(volume[worst])
        births.append(birth[worst])
        volume[worst], birth[worst] = volume[worst] * rng.random(), log_likelihood(dead[-1])
    volumes = np.concatenate([dead, volume])
    return volumes, log_likelihood(volumes), np.concatenate([births, birth])


def squared_radii(n_live: int, seeds: int) -> np.ndarray:
    """The posterior's mean squared radius relative to the truth, ``(seeds, 2)``: averaged weights, and logarithms."""
    found = np.empty((seeds, 2))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        volume, death, birth = perfect_run(rng, n_live, lambda x: -0.5 * x ** (2 / N_DIM) / SIGMA**2)
        squared = volume ** (2 / N_DIM) / (N_DIM * SIGMA**2)
        averaged = posterior_from(death, birth, rng).log_weights
        order = np.argsort(death, kind="stable")
        numbers = effective_live_points(birth, death[order])
        shells = [simulate_log_shells(numbers, rng.random(len(order))) for _ in range(100)]
        logarithms = death[order] + np.mean(shells, axis=0)
        found[seed] = [
            np.average(values, weights=np.exp(log_weights - log_weights.max()))
            for values, log_weights in ((squared, averaged), (squared[order], logarithms))
        ]
    return found


def main() -> None:
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recorded_runs.py")
    parser.add_argument("--problems", choices=recorded_runs.SETTINGS, nargs="+", default=list(recorded_runs.SETTINGS))
    parser.add_argument("--drawn", type=int, default=60, help="how many seeds get a second evidence")
    parser.add_argument("--moves", choices=MOVES, default="shrink", help="how the chains of these runs moved")
    parser.add_argument("--perfect", action="store_true", help="show what averaging the weights is worth instead")
    arguments = parser.parse_args()
    if arguments.perfect:
        return print_perfect_runs()
    names = [name for name in arguments.problems if (arguments.folder / f"{name}-0.npz").exists()]
    tables = []
    print("| nested sampling | n_live | steps | evaluations | seeds | minus the truth | in errors, mean ", end="")
    print("| standard deviation ", end="")
    print("| jump | expected excess | warned | uneven |\n|---|" + "---:|" * 11)
    for name in names:
        first, second = rows_of(name, *judged_runs(arguments.folder, name, arguments.drawn, arguments.moves))
        print(first, flush=True)
        tables.append(second)
    print(
        "\n| second evidence | usable | minus the truth | stated error | in errors, mean | standard deviation ",
        end="",
    )
    print("| worst | importance sampling alone | in errors, mean | worst | draws ", end="")
    print("| effective | time |\n|---|" + "---:|" * 12)
    print(*tables, sep="\n")
    return None


def print_perfect_runs(seeds: int = 600) -> None:
    print("| n_live | averaged weights | averaged logarithms |\n|---:|---:|---:|")
    for n_live in (10, 25, 100):
        found = squared_radii(n_live, seeds)
        cells = [
            f"{mean:.4f} ± {error:.4f}"
            for mean, error in zip(found.mean(axis=0), found.std(axis=0) / np.sqrt(len(found)), strict=True)
        ]
        print(f"| {n_live} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
