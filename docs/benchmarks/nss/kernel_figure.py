"""Draw one iteration of 20 chains, evaluation by evaluation: in lockstep, each on its own, and from a queue.

python docs/benchmarks/nss/kernel_figure.py docs/searches/nss/images/kernel.png
"""

import sys
from functools import partial

import problems  # first: it switches float64 on

# isort: split
import jax
import matplotlib
import numpy as np
from autofit.non_linear.search.nest.nss.sampling import kernel
from autofit.non_linear.search.nest.nss.sampling.chains import SHRINK, STEP_OUT_LEFT, STEP_OUT_RIGHT
from autofit.non_linear.search.nest.nss.sampling.lanes import _choose_survivors, no_info, rows_of
from autofit.non_linear.search.nest.nss.sampling.slices import STEPPING_OUT
from blackjax.ns.base import delete_fn, init_state_strategy

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap

NUM_CHAINS, NUM_STEPS, ITERATION = 20, 5, 40
IDLE = 3
NAMES = ("step out left", "step out right", "shrink", "waiting")
COLOURS = ListedColormap(["#0072B2", "#56B4E9", "#E69F00", "#E5E5E5"])


def phases_of_chains() -> list[list[list[int]]]:
    """For each chain and each of its slices, the phase of every evaluation, from a real iteration."""
    problem = problems.profile(components=2, pixels=100)
    log_prior, log_likelihood, _ = problem.functions()
    sampler = kernel.nested_slice_sampler(log_prior, log_likelihood, NUM_CHAINS, NUM_STEPS, -3.0, moves=STEPPING_OUT)
    (state, key), *_ = sampler.advance((sampler.start(problem.draw(200)), jax.random.PRNGKey(0)), ITERATION)

    dead, _ = delete_fn(state, NUM_CHAINS)
    contour = state.particles.loglikelihood[dead].max()
    choice_key, slice_key = jax.random.split(key)
    start = rows_of(state.particles, _choose_survivors(choice_key, state.particles, contour, NUM_CHAINS))
    slices = STEPPING_OUT.draw(slice_key, start.position, num_steps=NUM_STEPS, **state.inner_kernel_params)
    new_particle = partial(init_state_strategy, logprior_fn=log_prior, loglikelihood_fn=log_likelihood)
    tick = jax.jit(partial(STEPPING_OUT.tick, new_particle, contour))

    chains = []
    for chain in range(NUM_CHAINS):
        particle, phases = jax.tree.map(lambda x, row=chain: x[row], start), []
        for step in range(NUM_STEPS):
            here = jax.tree.map(lambda x, at=(step, chain): x[at], slices)
            running, done = STEPPING_OUT.begin(particle, here, jax.tree.map(np.sum, no_info(1))), False
            phases.append([])
            while not done:
                phases[-1].append(int(running.phase))
                running, done = tick(running)
            particle = running.particle
        chains.append(phases)
    return chains


def in_lockstep(chains) -> np.ndarray:
    """In each slice and phase, all wait for the slowest."""
    lanes = [[] for _ in chains]
    for step in range(NUM_STEPS):
        for phase in (STEP_OUT_LEFT, STEP_OUT_RIGHT, SHRINK):
            counts = [chain[step].count(phase) for chain in chains]
            for lane, count in zip(lanes, counts, strict=True):
                lane += [phase] * count + [IDLE] * (max(counts) - count)
    return as_picture(lanes)


def from_a_queue(chains, num_lanes: int) -> np.ndarray:
    """A lane that ends its chain takes the next."""
    lanes = [[] for _ in range(num_lanes)]
    for chain in chains:
        shortest = min(lanes, key=len)
        shortest += sum(chain, [])
    return as_picture(lanes)


def as_picture(lanes) -> np.ndarray:
    length = max(map(len, lanes))
    return np.array([lane + [IDLE] * (length - len(lane)) for lane in lanes])


def main(path: str) -> None:
    chains = phases_of_chains()
    pictures = {
        "lockstep": in_lockstep(chains),
        "one evaluation per tick": from_a_queue(chains, NUM_CHAINS),
        "the same from a queue": from_a_queue(chains, NUM_CHAINS // 2),
    }
    heights = [len(picture) for picture in pictures.values()]
    figure, axes = plt.subplots(3, 1, figsize=(8.0, 5.2), sharex=True, height_ratios=heights)
    for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
        image = ax.imshow(picture, cmap=COLOURS, vmin=0, vmax=3, aspect="auto", interpolation="nearest")
        rows, columns = picture.shape
        ax.hlines(np.arange(rows - 1) + 0.5, -0.5, columns - 0.5, color="white", linewidth=1.0)
        busy = np.mean(picture != IDLE)
        ax.set_title(f"{name}: {columns} batches of {rows}, {busy:.0%} of them needed", fontsize=9, loc="left")
        ax.set(ylabel="lane", yticks=[])
        ax.spines[:].set_visible(False)
    axes[-1].set_xlabel("batches of likelihood evaluations")
    patches = [plt.Rectangle((0, 0), 1, 1, color=image.cmap(i)) for i in range(4)]
    figure.legend(patches, NAMES, ncols=4, loc="outside upper center", frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
