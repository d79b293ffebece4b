"""Whole runs of the benchmark problems, kept in files for the studies of what can be told from a finished run.

    python docs/benchmarks/nss/recorded_runs.py FOLDER --problems sersic mge --seeds 4
    python docs/benchmarks/nss/recorded_runs.py FOLDER --seeds 60

Writes FOLDER/PROBLEM-SEED.npz for each seed that is not there yet: all points of the run, dead and then live, and
what is recorded of each chain. A lens takes some ten minutes a seed on one core, the cheap problems seconds.
"""

import argparse
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import problems  # first: it switches float64 on

# isort: split
import jax
import numpy as np
from autofit.non_linear.search.nest.nss.evidence.prior_space import Space, space_of
from autofit.non_linear.search.nest.nss.evidence.trust import least_steps
from autofit.non_linear.search.nest.nss.sampling import kernel, records
from autofit.non_linear.search.nest.nss.sampling.run import Points, Run
from autofit.non_linear.search.nest.nss.sampling.slices import (
    MOVES,
    SHRINKING,
    SHRINKING_IN_NORMAL_SPACE,
    Moves,
    draw_slices,
)

TERMINATION = -3.0
WALKS = {**MOVES, "shrink-in-parameters": SHRINKING}
LENSES = ("sersic", "mge")  # with what follows their names


class Setting(NamedTuple):
    """A problem and how it is fitted."""

    problem: Callable[[], problems.Problem]
    n_live: int
    num_delete: int
    num_mcmc_steps: int


SETTINGS = {
    "gaussian-3": Setting(lambda: problems.correlated_gaussian(3), 200, 50, 6),
    "gaussian-10": Setting(problems.correlated_gaussian, 400, 50, 20),
    "gaussian-10-half": Setting(problems.correlated_gaussian, 400, 50, 10),
    "gaussian-10-quarter": Setting(problems.correlated_gaussian, 400, 50, 5),
    "gaussian-10-tenth": Setting(problems.correlated_gaussian, 400, 50, 2),
    "gaussian-10-tenth-small": Setting(problems.correlated_gaussian, 100, 12, 2),
    "gaussian-10-tenth-large": Setting(problems.correlated_gaussian, 1600, 200, 2),
    "gaussian-30": Setting(lambda: problems.correlated_gaussian(30), 600, 100, 60),
    "gaussian-30-quarter": Setting(lambda: problems.correlated_gaussian(30), 600, 100, 15),
    "profile": Setting(lambda: problems.profile(2, 100), 200, 50, 12),
    "profile-quarter": Setting(lambda: problems.profile(2, 100), 200, 50, 3),
    "modes": Setting(problems.two_modes, 400, 50, 10),
    "modes-twice": Setting(problems.two_modes, 400, 50, 20),
    "modes-fifth": Setting(problems.two_modes, 400, 50, 2),
    "shells": Setting(problems.gaussian_shells, 400, 50, 20),
    "shells-tenth": Setting(problems.gaussian_shells, 400, 50, 2),
    "rosenbrock": Setting(problems.rosenbrock, 400, 50, 20),
    "rosenbrock-tenth": Setting(problems.rosenbrock, 400, 50, 2),
    "funnel": Setting(problems.funnel, 400, 50, 20),
    "funnel-tenth": Setting(problems.funnel, 400, 50, 2),
    "upper-limit": Setting(problems.upper_limit, 200, 50, 10),
    "edges": Setting(problems.edges, 200, 50, 12),
    "sersic": Setting(problems.small_lens, 210, 50, 42),
    "sersic-half": Setting(problems.small_lens, 210, 50, 21),
    "sersic-quarter": Setting(problems.small_lens, 210, 50, 10),
    "mge": Setting(lambda: problems.small_lens("mge"), 150, 50, 30),
    "mge-half": Setting(lambda: problems.small_lens("mge"), 150, 50, 15),
    "mge-quarter": Setting(lambda: problems.small_lens("mge"), 150, 50, 7),
}


def record(folder: Path, name: str, seeds: int, moves: Moves, adapts: bool) -> None:
    """Run the problem with so many seeds, and keep what there is to know of each run."""
    setting = SETTINGS[name]
    problem = setting.problem()
    steps = least_steps(problem.model.prior_count) if adapts else setting.num_mcmc_steps
    sampler, space = (
        sampler_of(problem, setting.num_delete, steps, moves, adapts=adapts),
        space_of(problem.model, moves),
    )
    for seed in range(seeds):
        path = folder / f"{name}-{seed}.npz"
        if not path.exists():
            positions = space.from_normal(problem.draw(setting.n_live, seed))
            run = whole_run(sampler, positions, seed)
            save(path, run, space)
            print(
                f"{path}: {run.iteration} iterations, {run.evaluations:,} evaluations, {run.seconds:.0f} s",
                flush=True,
            )


def sampler_of(
    problem: problems.Problem,
    num_delete: int,
    steps: int,
    moves: Moves = SHRINKING_IN_NORMAL_SPACE,
    **options: Any,
) -> kernel.NestedSliceSampler:
    """As af.NSS makes it of the problem; ``options`` are those of ``nested_slice_sampler``."""
    log_prior, log_likelihood, _ = problem.functions(moves)
    log_likelihood = jax.jit(log_likelihood, inline=True)
    chunk_size = kernel.best_chunk_size_of_a_cpu(log_likelihood, problem.model.prior_count)
    return kernel.nested_slice_sampler(
        log_prior, log_likelihood, num_delete, steps, TERMINATION, chunk_size, moves, **options
    )


def whole_run(sampler: kernel.NestedSliceSampler, positions: jax.Array, seed: int) -> Run:
    """A run from its first points, ``(n_live, n_dim)``, to its end."""
    started = time.perf_counter()
    run = Run(sampler.start(positions), [], jax.random.PRNGKey(seed), 0, 0.0, {}, [])
    while not kernel.has_converged(run.state, TERMINATION):
        run = run.after(*sampler.advance((run.state, run.run_key), 10_000), time.perf_counter() - started)
    return run


class Recorded(NamedTuple):
    """A whole run: its points, and what is recorded of its chains."""

    points: Points
    chains: records.ChainRecord

    @property
    def evaluations(self) -> int:
        return self.points.n_live + int(self.chains.evaluations.sum())


def load(folder: Path, name: str, seed: int) -> Recorded:
    """The recorded run of a problem with this seed."""
    with np.load(folder / f"{name}-{seed}.npz") as found:
        points = Points(
            found["position"],
            found["loglikelihood"],
            found["logdensity"],
            found["loglikelihood_birth"],
            int(found["n_live"]),
            int(found["num_delete"]),
        )
        return Recorded(points, records.ChainRecord(*(found[field] for field in records.ChainRecord._fields)))


def seeds_of(folder: Path, name: str) -> list[int]:
    """Of which seeds there is a run of a problem."""
    stems = [path.stem.rsplit("-", 1) for path in folder.glob(f"{name}-*.npz")]
    return sorted(int(seed) for problem, seed in stems if problem == name)


def save(path: Path, run: Run, space: Space) -> None:
    """Keep a run in the file that ``load`` reads, with its positions where the prior is a standard normal."""
    position, log_likelihood, log_prior, birth, n_live, num_delete = run.points
    np.savez(
        path,
        position=space.to_normal(position),
        loglikelihood=log_likelihood,
        logdensity=log_prior,
        loglikelihood_birth=birth,
        n_live=n_live,
        num_delete=num_delete,
        **run.chains._asdict(),
    )


def main() -> None:
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    cheap = [name for name in SETTINGS if not name.startswith(LENSES)]
    parser.add_argument("--problems", choices=SETTINGS, nargs="+", default=cheap, help="all but the lenses")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--moves", choices=WALKS, default="shrink", help="how chains move; a folder for each")
    parser.add_argument("--width", type=float, help="of a bracket that only shrinks; a folder for each")
    parser.add_argument("--adapt", action="store_true", help="as many slices as by default; a folder of their own")
    arguments = parser.parse_args()
    moves = WALKS[arguments.moves]
    if arguments.width is not None:
        moves = SHRINKING_IN_NORMAL_SPACE._replace(draw=partial(draw_slices, arguments.width))
    arguments.folder.mkdir(exist_ok=True, parents=True)
    for name in arguments.problems:
        record(arguments.folder, name, arguments.seeds, moves, arguments.adapt)


if __name__ == "__main__":
    main()
