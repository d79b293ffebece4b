"""How far an iteration scales over devices.

    python docs/benchmarks/nss/devices.py [--problem sersic] [--repeats 3] [--runs FOLDER]

Prints the evaluations per second on one and on two devices of a process that has all cores, and of one and of two
processes that have a core each: so many iterations of a run, in processes that alternate; and what a gather of the
chains' last points costs beside them.

With a folder of recorded_runs.py, also what can be expected of more: the lengths of its chains, in likelihood
evaluations, are dealt out to devices with so many lanes each, and the longest device is waited for. The efficiency is
the share of the lanes' evaluations that were needed.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from processes import join_the_others, together

ITERATIONS = 8


class Case(NamedTuple):
    """How many processes, of how many devices, and whether each has one core alone or all of them."""

    processes: int
    devices: int
    a_core_each: bool


CASES = (Case(1, 1, False), Case(1, 2, False), Case(1, 1, True), Case(2, 1, True))


def evaluations_per_second(name: str) -> dict[str, float]:
    """Of all devices, after compilation; and the seconds of a gather among them."""
    join_the_others()
    import recorded_runs  # first: it switches float64 on

    # isort: split
    import jax
    from autofit.non_linear.search.nest.nss.sampling import sharding as division

    setting = recorded_runs.SETTINGS[name]
    problem, devices = setting.problem(), jax.devices()
    sampler = recorded_runs.sampler_of(problem, setting.num_delete, setting.num_mcmc_steps, devices=devices)
    # Between calls everything is NumPy's, as in a fit, so that nothing is compiled twice.
    positions, rng_key = jax.device_get((problem.draw(setting.n_live, 0), jax.random.PRNGKey(0)))
    carry, *_ = jax.device_get(sampler.advance((jax.device_get(sampler.start(positions)), rng_key), 1))
    started = time.perf_counter()
    _, dead, done = jax.device_get(sampler.advance(carry, ITERATIONS))
    seconds = time.perf_counter() - started

    points = np.zeros((setting.num_delete, problem.model.prior_count))
    gather = division.everywhere(
        lambda rows: division.divided(lambda index: rows[index], len(rows), len(devices)), devices
    )
    jax.block_until_ready(gather(points))
    began = time.perf_counter()
    for _ in range(100):
        jax.block_until_ready(gather(points))
    return {
        "rate": float(dead.update_info.evaluations[: int(done)].sum()) / seconds,
        "gather": (time.perf_counter() - began) / 100,
        "lanes": sampler.lanes,
    }


def efficiency(lengths: np.ndarray, devices: int, lanes: int) -> float:
    """
    The share of the lanes' evaluations that were needed.

    Parameters
    ----------
    lengths
        ``(iterations, chains)`` int: the evaluations of each chain.
    """
    waited = needed = 0
    for chains in lengths:
        shares = np.array_split(chains, devices)
        waited += devices * lanes * max(ticks(share, lanes) for share in shares)
        needed += chains.sum()
    return needed / waited


def ticks(chains: np.ndarray, lanes: int) -> int:
    """Until the last chain is done, where a lane that is free takes the next."""
    busy_until = np.zeros(lanes, int)
    for length in chains:
        busy_until[busy_until.argmin()] += length
    return busy_until.max()


def table(lengths: np.ndarray, chains: int) -> None:
    """Chains of iterations of ``chains`` each, made of recorded ones of about the same time."""
    joined = lengths.reshape(-1)
    lengths = joined[: len(joined) // chains * chains].reshape(-1, chains)[:: max(1, len(joined) // chains // 100)]
    cells = [
        f"{efficiency(lengths, devices, lanes):.2f}" if devices * lanes <= chains else ""
        for lanes in (1, 4, 16)
        for devices in (1, 4, 16, 64, 256, 1024)
    ]
    print(f"| {chains} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="sersic")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return print(json.dumps(evaluations_per_second(given.problem)))

    found = {case: [] for case in CASES}
    for _ in range(given.repeats):
        for case, so_far in found.items():
            environment = {"JAX_NUM_CPU_DEVICES": str(case.devices), **({"CORE": "0"} if case.a_core_each else {})}
            first, *others = together(case.processes, __file__, "--one", "--problem", given.problem, **environment)
            so_far.append(json.loads(first.communicate()[0].splitlines()[-1]))
            for other in others:
                other.wait()
    print("| processes | cores of each | devices of each | lanes on each | evaluations per second | a gather |")
    print("|---:" * 6 + "|")
    for case, all_ in found.items():
        rate, gather = (statistics.median(one[name] for one in all_) for name in ("rate", "gather"))
        cores, lanes = 1 if case.a_core_each else os.cpu_count(), all_[0]["lanes"]
        print(f"| {case.processes} | {cores} | {case.devices} | {lanes} | {rate:,.0f} | {1e6 * gather:.0f} us |")
    if given.runs:
        import recorded_runs

        chains = recorded_runs.load(given.runs, given.problem, 0).chains
        evaluations, num_delete = chains.evaluations, recorded_runs.SETTINGS[given.problem].num_delete
        longest = evaluations.reshape(-1, num_delete).max(axis=1)
        print(f"\nEvaluations of a chain: {evaluations.mean():.0f}, of an iteration's longest: {longest.mean():.0f}")
        print(
            "\n| chains | " + " | ".join(f"{lanes} x {n}" for lanes in (1, 4, 16) for n in (1, 4, 16, 64, 256, 1024))
        )
        print("|---:" * 19 + "|")
        for number in (50, 200, 1_000, 4_000):
            table(np.asarray(chains.evaluations), number)
    return None


if __name__ == "__main__":
    main()
