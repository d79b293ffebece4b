"""Where a run stands after an iteration, and what can be read of it. Nothing here samples, draws or writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from .diagnostics import Points


class Run(NamedTuple):
    """
    Where a run stands after an iteration.

    Attributes
    ----------
    state
        The sampler's state, with its live points.
    dead
        The dead points, a list of ``NSInfo`` of NumPy arrays. Each holds those of one or more iterations, in order.
    run_key
        The key of the next iteration.
    iteration
        How many iterations are done.
    seconds
        The wall-clock time they took, over all sessions.
    fingerprint
        What makes the run the run it is.
    draws
        The importance draws for the second evidence, a list of ``importance.Batch``; empty until the run converged.
    pace
        Iterations per second since the run stood elsewhere.
    """

    state: Any
    dead: list
    run_key: Any
    iteration: int
    seconds: float
    fingerprint: dict
    draws: list
    pace: float = 0.0

    def after(self, carry: tuple, block: Any, done: Any, seconds: float) -> Run:
        """The run ``done`` iterations on. Its arrays are fetched from the device now, while nothing keeps it busy."""
        (state, run_key), done = carry, int(done)
        jax.device_get(carry)
        self.dead.append(jax.tree.map(lambda x: np.concatenate(x[:done]), jax.device_get(block)))
        return self._replace(
            state=state,
            run_key=run_key,
            iteration=self.iteration + done,
            seconds=seconds,
            pace=done / (seconds - self.seconds),
        )

    @property
    def moves(self) -> str:
        """How its chains move: a name in ``slices.MOVES``."""
        return self.fingerprint["settings"]["moves"]

    @property
    def num_mcmc_steps(self) -> int:
        """The slices of each chain."""
        return self.fingerprint["settings"]["num_mcmc_steps"]

    @property
    def remaining(self) -> float:
        """The log evidence of the live points relative to that of the dead points."""
        return float(self.state.integrator.logZ_live - self.state.integrator.logZ)

    @property
    def evaluations(self) -> int:
        """Likelihood evaluations of nested sampling, those of the initial points among them."""
        return self.n_live + int(self.of_chains("evaluations").sum(dtype=np.int64))

    @property
    def points(self) -> Points:
        """All points, as the diagnostics take them."""
        log_likelihood, birth = self.of_points("loglikelihood"), self.of_points("loglikelihood_birth")
        return Points(log_likelihood, birth, self.n_live, (len(birth) - self.n_live) // self.iteration)

    @property
    def n_dim(self) -> int:
        """The number of parameters."""
        return self.state.particles.position.shape[1]

    def of_points(self, name: str) -> np.ndarray:
        """An attribute of all points: the dead ones in the order of their iterations, then the live ones."""
        live = jax.device_get(self.state.particles)
        return np.concatenate([getattr(block.particles, name) for block in self.dead] + [getattr(live, name)])

    def of_chains(self, name: str) -> np.ndarray:
        """An attribute of the ``ChainRecord`` of all chains, iteration by iteration."""
        return np.concatenate([getattr(block.update_info, name) for block in self.dead])

    @property
    def n_live(self) -> int:
        """The number of live points."""
        return len(self.state.particles.loglikelihood)
