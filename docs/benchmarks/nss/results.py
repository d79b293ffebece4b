"""What follows sampling: weights and evidence from the dead points, then the host's result step.

    python docs/benchmarks/nss/results.py [--profile]

Prints seconds and peak memory, in processes of their own: of ``posterior_from`` for 250,000 points (5,000 iterations
that replace 50) and for a million; and of the host's ``perform_update`` (samples, summaries, csv, plots, latents) for
samples of 6, 10 and 21 parameters with this af.NSS and with PyAutoFit's own, which takes minutes for 21.
``--profile`` prints where the time of the host's step goes.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
import tracemalloc

import numpy as np
from processes import measured

SIZES = ((20_000, 6), (250_000, 6), (15_000, 10), (15_000, 21))  # samples, parameters


def points(number: int, n_dim: int = 6, n_live: int = 200, num_delete: int = 50):
    """Positions, log likelihoods and births like those of a run that went down a Gaussian."""
    rng = np.random.default_rng(0)
    log_volume = -np.arange(number) / n_live * 20.0 / (number / n_live)
    radius = np.exp(log_volume / n_dim)
    direction = rng.normal(size=(number, n_dim))
    positions = 0.45 * radius[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    log_likelihood = -0.5 * radius**2 / 0.05**2
    batch = np.arange(number) // num_delete
    birth = np.where(batch < n_live // num_delete, np.nan, log_likelihood[np.maximum(0, (batch - 4) * num_delete)])
    return positions, log_likelihood, birth


def posterior_step(number: int) -> None:
    from autofit.non_linear.search.nest.nss.evidence.nested import posterior_from

    _, log_likelihood, birth = points(number)
    started = time.perf_counter()
    posterior_from(log_likelihood, birth, np.random.default_rng(0))
    seconds = time.perf_counter() - started
    tracemalloc.start()
    posterior_from(log_likelihood, birth, np.random.default_rng(0), n_simulations=2)
    print(json.dumps([seconds, tracemalloc.get_traced_memory()[1] / 2**20]))


def result_step(number: int, n_dim: int, profile: bool) -> None:
    import cProfile
    import pstats

    import problems  # first: it switches float64 on

    # isort: split
    import autofit as af
    from autofit.non_linear.search.nest.nss.search import _NSSInternal

    af.conf.instance.output_path = tempfile.mkdtemp()
    positions, log_likelihood, _ = points(number, n_dim)
    model = af.Collection(**{f"x{i}": af.UniformPrior(-1.0, 1.0) for i in range(n_dim)})
    analysis = problems.VectorAnalysis(lambda x: -0.5 * (x @ x) / 0.05**2)
    log_weights = log_likelihood - 20.0 * np.arange(number) / number
    internal = _NSSInternal(
        positions, log_likelihood, log_weights, np.zeros(100), 1.0, 1.0, number, number // 10, 200, 5, 50, -3.0, 42
    )
    if hasattr(internal, "log_priors"):
        internal.log_priors = np.full(number, -n_dim * np.log(2.0))
    search = af.NSS(name="results")
    search.paths.model = model
    fitness = search.make_fitness(
        analysis=analysis, model=model, **search.execution_settings(analysis).fitness_overrides
    )
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    started = time.perf_counter()
    search.perform_update(model, analysis, during_analysis=False, fitness=fitness, search_internal=internal)
    seconds = time.perf_counter() - started
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(45)
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--one", choices=("posterior", "results"), help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--n-dim", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one == "posterior":
        return posterior_step(given.number)
    if given.one == "results":
        return result_step(given.number, given.n_dim, given.profile)
    if given.profile:
        return measured(__file__, "--one", "results", "--number", 250_000, "--n-dim", 6, "--profile")

    print("| points | posterior_from | memory |\n|---:|---:|---:|")
    for number in (250_000, 1_000_000):
        seconds, memory = measured(__file__, "--one", "posterior", "--number", number)
        print(f"| {number:,} | {seconds:.2f} s | {memory:.0f} MB |")
    print()
    print(
        "| samples | parameters | this af.NSS | memory | PyAutoFit's own | memory |\n|---:|---:|---:|---:|---:|---:|"
    )
    for number, n_dim in SIZES:
        step = ("--one", "results", "--number", number, "--n-dim", n_dim)
        ours, theirs = (measured(__file__, *step, AUTOFIT_NSS=choice) for choice in ("", "stock"))
        columns = (f"{seconds:.1f} s | {memory:,.0f} MB" for seconds, memory in (ours, theirs))
        print(f"| {number:,} | {n_dim} | {' | '.join(columns)} |", flush=True)
    return None


if __name__ == "__main__":
    main()
