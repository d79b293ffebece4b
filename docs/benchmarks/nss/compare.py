"""Whole fits with af.NSS, PyAutoFit's own af.NSS and the field's other nested samplers, on the same JAX likelihoods.

    pip install '.[benchmarks]'
    python docs/benchmarks/nss/compare.py [--problems ...] [--samplers ...] [--references ...] [--repeats 3]
        [--limit SECONDS] [--figure FILE]

Every fit runs in a process of its own, the samplers one after the other, then all of them again with the next seed.
Each sampler has a JAX compilation cache for each problem, empty at its first fit. Prints for each problem the medians
of

- fit: seconds from a model and an analysis to samples in hand, output included; and of the first fit alone, which
  compiles everything,
- sampling: those of the sampler's own run, where it tells,
- evaluations: of the likelihood, as the sampler counts them,
- ESS: Kish's effective number of the weighted samples, and how many of them a second of the fit gives,
- log evidence, its error where the sampler's results have one, and its distance from the truth where that is known,
- memory: the peak of the process;

and, where there are references ("NSS, long", "Nautilus, long": one fit each, with many more live points), by what
posteriors differ from the first of them: the best log likelihood, the means in its standard deviations (root mean
square over seeds and parameters, and at worst), and the ratios of standard deviations.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

from processes import measured

SERSIC, MGE = "Sersic lens, 21 parameters", "MGE lens, 15 parameters"
LENSES = (SERSIC, MGE)


def settings(problem_name: str, n_dim: int) -> dict:
    """What each sampler's documentation recommends for so many parameters; for a lens, what lens pipelines use."""
    lens = problem_name in LENSES
    n_live = 10 * n_dim if lens else 500
    return {
        "NSS": dict(n_live=n_live, num_delete=50, n_eff=5_000),
        "NSS of PyAutoFit": dict(n_live=n_live, num_delete=50, num_mcmc_steps=max(5, 2 * n_dim)),
        "Nautilus": dict(n_live=200, n_batch=100) if lens else dict(n_live=2000, n_eff=10_000),
        "DynestyStatic": dict(nlive=n_live),
        "UltraNest": dict(min_num_live_points=400, popsize=100, nsteps=2 * n_dim),
        "jaxns": {},
        "NSS, long": dict(n_live=50 * n_dim, num_delete=10 * n_dim, n_eff=50_000),
        "Nautilus, long": dict(n_live=1000, n_batch=500, n_eff=20_000),
    }


def problem_of(name: str):
    import problems

    function, arguments = PROBLEMS[name]
    return getattr(problems, function)(**arguments)


PROBLEMS = {
    "profile, 3 parameters": ("profile", dict(components=1, pixels=100)),
    "profile, 6 parameters": ("profile", dict(components=2, pixels=2_000)),
    "correlated Gaussian, 10 parameters": ("correlated_gaussian", {}),
    "two modes, 5 parameters": ("two_modes", {}),
    SERSIC: ("small_lens", {}),
    MGE: ("small_lens", dict(light="mge")),
}


def kish(weights) -> float:
    import numpy as np

    weights = np.asarray(weights, dtype=float)
    return float(weights.sum() ** 2 / (weights**2).sum())


def with_autofit(search_class: str, problem, seed: int, options: dict) -> dict:
    import autofit as af

    if search_class != "DynestyStatic":
        options = {**options, "seed": seed}
    search = getattr(af, search_class)(name="fit", silence=True, **options)
    samples = search.fit(model=problem.model, analysis=problem.analysis).samples
    info = samples.samples_info
    return dict(
        log_evidence=samples.log_evidence,
        error=info.get("log_evidence_error", math.nan),  # not every search of PyAutoFit keeps it
        evaluations=info["total_samples"],
        sampling=float(info.get("sampling_time", info.get("time"))),
        ess=kish(samples.weight_list),
        **compared(samples.parameter_lists, samples.weight_list, max(samples.log_likelihood_list)),
    )


def compared(positions, weights, best: float) -> dict:
    """Of a posterior, what another sampler's should agree with."""
    import numpy as np

    mean = np.average(positions, axis=0, weights=weights)
    variance = np.average((np.asarray(positions) - mean) ** 2, axis=0, weights=weights)
    return dict(best=best, mean=mean.tolist(), deviation=np.sqrt(variance).tolist())


def with_ultranest(problem, seed: int, options: dict) -> dict:
    import jax
    import numpy as np
    import ultranest
    from ultranest.popstepsampler import PopulationSliceSampler, generate_mixture_random_direction

    np.random.seed(seed)
    _, log_likelihood, transform = problem.functions()
    compiled = {name: jax.jit(jax.vmap(f)) for name, f in (("ll", log_likelihood), ("prior", transform))}

    def vectorized(function):
        def call(points):
            # Padded to a power of two, or every number of points would be compiled.
            padded = np.resize(points, (max(16, 1 << (len(points) - 1).bit_length()), points.shape[1]))
            return np.asarray(function(padded))[: len(points)]

        return call

    sampler = ultranest.ReactiveNestedSampler(
        [f"x{i}" for i in range(problem.model.prior_count)],
        vectorized(compiled["ll"]),
        vectorized(compiled["prior"]),
        vectorized=True,
    )
    sampler.stepsampler = PopulationSliceSampler(
        popsize=options["popsize"], nsteps=options["nsteps"], generate_direction=generate_mixture_random_direction
    )
    started = time.perf_counter()
    result = sampler.run(min_num_live_points=options["min_num_live_points"], show_status=False, viz_callback=False)
    return dict(
        log_evidence=result["logz"],
        error=result["logzerr"],
        evaluations=result["ncall"],
        sampling=time.perf_counter() - started,
        ess=kish(result["weighted_samples"]["weights"]),
    )


def with_jaxns(problem, seed: int, options: dict) -> dict:
    import jax
    import jax.numpy as jnp
    from jaxns.core import NestedSampler
    from jaxns.model import Model
    from jaxns.priors import Prior
    from tensorflow_probability.substrates import jax as tfp

    _, log_likelihood, transform = problem.functions()
    n_dim = problem.model.prior_count

    def prior_model():
        unit = Prior(tfp.distributions.Uniform(jnp.zeros(n_dim), jnp.ones(n_dim)), name="unit").realise()
        return log_likelihood(transform(unit))

    started = time.perf_counter()
    state = NestedSampler(model=Model(prior_model=prior_model), **options).run(key=jax.random.PRNGKey(seed))
    results = state.to_result().trim()
    return dict(
        log_evidence=float(results.log_Z_mean),
        error=float(results.log_Z_uncert),
        evaluations=int(results.total_num_likelihood_evaluations),
        sampling=time.perf_counter() - started,
        ess=float(results.ess),
    )


SAMPLERS = {
    "NSS": partial(with_autofit, "NSS"),
    "NSS of PyAutoFit": partial(with_autofit, "NSS"),
    "Nautilus": partial(with_autofit, "Nautilus"),
    "DynestyStatic": partial(with_autofit, "DynestyStatic"),
    "UltraNest": with_ultranest,
    "jaxns": with_jaxns,
}
REFERENCES = {"NSS, long": partial(with_autofit, "NSS"), "Nautilus, long": partial(with_autofit, "Nautilus")}


def one_fit(sampler: str, problem_name: str, seed: int) -> None:
    """Print what a fit gives, as JSON in the last line; the body of a process of its own."""
    import resource

    import problems  # noqa: F401 (first: it switches float64 on)

    # isort: split
    import autofit as af

    problem = problem_of(problem_name)
    af.conf.instance.output_path = tempfile.mkdtemp()
    if problem_name in LENSES:  # minutes for 21 parameters with the other searches of PyAutoFit
        plots = af.conf.instance["visualize"]["plots_search"]["nest"]
        plots["corner_anesthetic"] = plots["corner_anesthetic_components"] = False
    started = time.perf_counter()
    options = settings(problem_name, problem.model.prior_count)[sampler]
    found = (SAMPLERS | REFERENCES)[sampler](problem, seed, options)
    found["fit"] = time.perf_counter() - started
    found["n_dim"] = problem.model.prior_count
    found["truth"] = math.nan if problem.log_evidence is None else problem.log_evidence
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    print(json.dumps(found, default=float))


def in_a_process(sampler: str, problem: str, seed: int, cache: Path, limit: float | None) -> dict | None:
    """What the fit gives, ``None`` if it takes longer than ``limit`` seconds."""
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(cache / sampler / problem),
        "AUTOFIT_NSS": "stock" if sampler == "NSS of PyAutoFit" else "",
    }
    try:
        return measured(__file__, "--one", sampler, problem, seed, limit=limit, **environment)
    except subprocess.TimeoutExpired:
        return None


def row(sampler: str, runs: list[dict]) -> str:
    skipped = ("truth", "best", "mean", "deviation")
    median = {name: statistics.median(run[name] for run in runs) for name in runs[0] if name not in skipped}
    truth = runs[0]["truth"]
    error = "" if math.isnan(median["error"]) else f" ± {median['error']:.2f}"
    deviation = "" if math.isnan(truth) else f"{median['log_evidence'] - truth:+.2f}"
    return (
        f"| {sampler} | {median['fit']:.1f} s | {runs[0]['fit']:.1f} s | {median['sampling']:.1f} s "
        f"| {median['evaluations']:,.0f} | {median['ess']:,.0f} | {ess_per_second(runs):,.0f} "
        f"| {median['log_evidence']:.2f}{error} | {deviation} | {median['memory']:,.0f} MB |"
    )


def agreement(sampler: str, runs: list[dict], reference: dict) -> str:
    """By what posteriors differ from that of the reference."""
    import numpy as np

    means, deviations = (np.array([run[name] for run in runs]) for name in ("mean", "deviation"))
    off = np.abs(means - reference["mean"]) / reference["deviation"]
    ratios = deviations / reference["deviation"]
    low = min(run["best"] for run in runs) - reference["best"]
    return (
        f"| {sampler} | {low:+.2f} | {np.sqrt(np.mean(off**2)):.3f} | {off.max():.2f} "
        f"| {ratios.min():.2f} to {ratios.max():.2f} |"
    )


def unfinished(sampler: str, limit: float) -> str:
    return f"| {sampler} | over {limit:.0f} s |" + " |" * 8


def ess_per_second(runs: list[dict]) -> float:
    return statistics.median(run["ess"] / run["fit"] for run in runs)


def draw(found: dict, path: Path) -> None:
    """Effective samples per second of the whole fit, a panel for each problem."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(3.0 * len(found), 2.4), sharey=True, squeeze=False)
    for ax, (problem, runs_of) in zip(axes[0], found.items(), strict=True):
        rates = [ess_per_second(runs) for runs in runs_of.values()]
        bars = ax.barh(list(runs_of), rates, color=["#0072B2" if name == "NSS" else "0.7" for name in runs_of])
        ax.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
        ax.set(xlim=(0.0, 1.2 * max(rates)), xticks=[])
        ax.set_title(problem, fontsize=9)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("effective samples per second of the whole fit", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--references", nargs="*", choices=REFERENCES, default=[])
    parser.add_argument("--limit", type=float, help="seconds after which a fit is given up")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return one_fit(given.one[0], given.one[1], int(given.one[2]))

    packages = ("autofit", "blackjax", "jax", "nautilus-sampler", "dynesty", "ultranest", "jaxns")
    print(
        f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in packages)}, ", end=""
    )
    print(f"{os.cpu_count()} cores\n")
    found, cache = {}, Path(tempfile.mkdtemp())
    for problem in given.problems:
        runs = {sampler: [] for sampler in given.samplers}
        for seed in range(1, given.repeats + 1):
            for sampler in given.samplers:
                runs[sampler].append(in_a_process(sampler, problem, seed, cache, given.limit))
                print(f"{problem}, {sampler}, seed {seed}: {runs[sampler][-1]}", file=sys.stderr, flush=True)
        for reference in given.references:
            runs[reference] = [in_a_process(reference, problem, 0, cache, None)]
            print(f"{problem}, {reference}: {runs[reference][0]}", file=sys.stderr, flush=True)
        finished = {sampler: tried for sampler, tried in runs.items() if None not in tried}
        print(f"### {problem[0].upper()}{problem[1:]}\n")
        print(
            "| | fit | first fit | sampling | evaluations | ESS | ESS/s | log evidence | minus the truth | memory |"
        )
        print("|---|" + "---:|" * 9)
        for sampler in runs:
            print(row(sampler, finished[sampler]) if sampler in finished else unfinished(sampler, given.limit))
        n_dim = int(next(iter(finished.values()))[0]["n_dim"])
        seeds = f"Seeds 1 to {given.repeats}, of references 0"
        print(f"\n{seeds}; settings {json.dumps(settings(problem, n_dim))}\n", flush=True)
        if given.references:
            print("| | best log likelihood | means, off by | at worst | ratio of deviations |\n|---|" + "---:|" * 4)
            for sampler in (name for name in finished if "mean" in finished[name][0]):
                print(agreement(sampler, finished[sampler], finished[given.references[0]][0]))
            print(flush=True)
        found[problem] = {sampler: runs for sampler, runs in finished.items() if sampler in given.samplers}
    if given.figure:
        draw(found, given.figure)
    return None


if __name__ == "__main__":
    main()
