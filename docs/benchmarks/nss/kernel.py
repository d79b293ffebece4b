"""The single-evaluation update against blackjax's own, and against the least that its evaluations could cost.

    python docs/benchmarks/nss/kernel.py [--problems cheap middling lens] [--slices 0] [--repeats 3]

For each problem (a profile of 100 pixels, one of 5,000 pixels, a lens model through autolens) and each setting,
prints the seconds after compilation of

- lockstep: ``blackjax.nss`` as it is,
- ours: ``blackjax.nss`` with the update of ``kernel.py``,
- the floor: the evaluations that were needed, each at the cost it has in the vmapped batch of the best size,

as medians of runs that alternate; the share of the lanes' evaluations that were needed ("busy"); and the seconds to
trace and compile one iteration, with nothing in JAX's cache. The live points of both are compared byte for byte.
``--slices`` ends each run after so many slices in all, 0 for whole runs; ``--skip`` begins all of them after so many.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import cache, partial

os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp()

import problems  # first: it switches float64 on

# isort: split
import blackjax
import jax
import numpy as np
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.lanes import single_evaluation_update
from autofit.non_linear.search.nest.nss.sampling.slices import STEPPING_OUT
from blackjax.ns.base import init_state_strategy

PROBLEMS = {
    "cheap": partial(problems.profile, components=2, pixels=100),
    "middling": partial(problems.profile, components=2, pixels=5_000),
    "lens": problems.lens,
}
TERMINATION = -3.0
BATCHES = (1, 2, 5, 10, 20, 50, 100)


class Run:
    """One algorithm on one problem, compiled once and run as often as asked."""

    def __init__(self, functions, start, num_delete: int, num_steps: int, **options):
        log_prior, log_likelihood, _ = functions
        algorithm = blackjax.nss(log_prior, log_likelihood, num_steps, num_delete=num_delete, **options)

        @jax.jit
        def one_step(carry):
            state, key = carry
            key, subkey = jax.random.split(key)
            state, info = algorithm.step(subkey, state)
            return (state, key), info.update_info

        self.start = jax.jit(algorithm.init)(start), jax.random.PRNGKey(1)
        started = time.perf_counter()
        self.one_step = one_step.lower(self.start).compile()
        self.compile_seconds = time.perf_counter() - started
        self.seconds = []

    def __call__(self, iterations: int | None):
        carry, infos, started = self.start, [], time.perf_counter()
        while len(infos) != iterations and not kernel.has_converged(carry[0], TERMINATION):
            carry, info = self.one_step(carry)
            infos.append(info)
        jax.block_until_ready(carry)
        self.seconds.append(time.perf_counter() - started)
        self.state, self.infos = carry[0], jax.device_get(infos)


@cache
def functions_of(name: str):
    problem = PROBLEMS[name]()
    return problem, problem.functions()


@cache
def floor_of(name: str):
    return Floor(name)


class Floor:
    """The cost of an evaluation of log prior and log likelihood in vmapped batches, measured as often as asked."""

    def __init__(self, name: str):
        problem, (log_prior, log_likelihood, _) = functions_of(name)
        points = problem.draw(4 * max(BATCHES))
        both = partial(jax.lax.map, jax.vmap(lambda x: log_prior(x) + log_likelihood(x)))
        self.batches = [points[: len(points) // size * size].reshape(-1, size, points.shape[1]) for size in BATCHES]
        self.evaluate = [jax.jit(both).lower(batches).compile() for batches in self.batches]
        self.seconds = [[] for _ in BATCHES]

    def __call__(self):
        for batches, evaluate, seconds in zip(self.batches, self.evaluate, self.seconds, strict=True):
            started = time.perf_counter()
            jax.block_until_ready(evaluate(batches))
            seconds.append((time.perf_counter() - started) / (batches.shape[0] * batches.shape[1]))

    @property
    def seconds_per_evaluation(self) -> float:
        """In the batch of the best size."""
        return min(map(statistics.median, self.seconds))


def compare(
    name: str,
    n_live: int,
    num_delete: int,
    num_steps: int,
    chunk_size: int | None,
    skip: int,
    slices: int,
    repeats: int,
) -> str:
    problem, functions = functions_of(name)
    chunk_size = chunk_size or kernel.best_chunk_size_of_a_cpu(functions[1], problem.model.prior_count)
    lanes = kernel.nested_slice_sampler(*functions[:2], num_delete, num_steps, TERMINATION, chunk_size).lanes
    new_particle = partial(init_state_strategy, logprior_fn=functions[0], loglikelihood_fn=functions[1])
    setting = functions, problem.draw(n_live), num_delete, num_steps
    lockstep = Run(*setting)
    ours = Run(*setting, update_strategy=single_evaluation_update(new_particle, lanes, STEPPING_OUT))
    for _ in range(skip // (num_delete * num_steps)):
        ours.start, _ = ours.one_step(ours.start)
    lockstep.start = jax.block_until_ready(ours.start)
    floor = floor_of(name)
    for _ in range(repeats):
        for run in (lockstep, ours):
            run(slices // (num_delete * num_steps) or None)
            floor()
    needed = sum(int(info.record.evaluations.sum()) for info in ours.infos)
    longest = sum(int(info.record.evaluations.max()) for info in ours.infos) * lanes
    busy = f"{needed / longest:.2f}" if lanes == num_delete else ""
    same = np.array_equal(lockstep.state.particles.position, ours.state.particles.position)
    theirs, mine = (statistics.median(run.seconds) for run in (lockstep, ours))
    least = needed * floor.seconds_per_evaluation
    return (
        f"| {name} | {n_live} | {num_delete} | {num_steps} | {lanes} | {theirs:.2f} s | {mine:.2f} s "
        f"| {least:.2f} s | {theirs / mine:.2f} | {mine / least:.2f} | {needed:,} | {busy} "
        f"| {lockstep.compile_seconds:.1f} s | {ours.compile_seconds:.1f} s | {'yes' if same else 'no'} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--n-live", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--num-delete", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--num-steps", type=int, nargs="+", help="instead of 5 and twice the number of parameters")
    parser.add_argument("--chunk-size", type=int, nargs="+", default=[None], help="instead of what af.NSS picks")
    parser.add_argument("--slices", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(
        "| problem | n_live | num_delete | steps | lanes | lockstep | ours | floor | lockstep / ours | ours / floor "
        "| evaluations | busy | compile, lockstep | compile, ours | same points |"
    )
    print("|---|" + "---:|" * 13 + "---|")
    for problem_name in given.problems:
        twice = 2 * functions_of(problem_name)[0].model.prior_count
        for live in given.n_live:
            for delete in given.num_delete:
                for steps in given.num_steps or (5, twice):
                    for size in given.chunk_size:
                        print(
                            compare(problem_name, live, delete, steps, size, given.skip, given.slices, given.repeats),
                            flush=True,
                        )
        print(f"{problem_name}: {1e6 * floor_of(problem_name).seconds_per_evaluation:.1f} us per evaluation")
