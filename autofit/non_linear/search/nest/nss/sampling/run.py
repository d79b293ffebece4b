"""Where a run stands after an iteration, and what can be read of it. Nothing here samples, draws or writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

if TYPE_CHECKING:
    from .records import ChainRecord


class Points(NamedTuple):
    """
    The points of a run, ``n`` in all: the dead ones in the order of their iterations, then the live ones.

    Attributes
    ----------
    position
        ``(n, n_dim)`` float.
    log_likelihood, log_prior
        ``(n,)`` float, of each.
    birth
        ``(n,)`` float: the contour above which each was born; NaN or minus infinity for draws from the whole prior.
    n_live
        How many of them, the last, are alive.
    num_delete
        How many died in each iteration.
    """

    position: np.ndarray
    log_likelihood: np.ndarray
    log_prior: np.ndarray
    birth: np.ndarray
    n_live: int
    num_delete: int

    @property
    def n_dim(self) -> int:
        return self.position.shape[1]

    @property
    def iterations(self) -> int:
        return (len(self.log_likelihood) - self.n_live) // self.num_delete

    @property
    def order_of_birth(self) -> np.ndarray:
        """``(n,)`` int: the initial points, then those born in each iteration; contours never fall."""
        return np.argsort(np.where(np.isnan(self.birth), -np.inf, self.birth), kind="stable")

    @property
    def born_in(self) -> np.ndarray:
        """``(n,)`` int: the iteration in which each was born, zero or less for the initial points."""
        iteration = np.empty(len(self.birth), int)
        iteration[self.order_of_birth] = 1 + (np.arange(len(iteration)) - self.n_live) // self.num_delete
        return iteration

    @property
    def live_at_death(self) -> np.ndarray:
        """``(n - n_live,)`` int: the live points just before each death, one after the other in each iteration."""
        return np.tile(self.n_live - np.arange(self.num_delete), self.iterations)


class Scouted(NamedTuple):
    """
    What came of a run that started from what was known, and after which a whole one began.

    Attributes
    ----------
    evaluations
        Those it made, its importance draws among them.
    seconds
        How long it took, over all sessions.
    unknown
        Which share of the posterior that it found each of what it started from does not know.
    """

    evaluations: int
    seconds: float
    unknown: list[float]


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
        The importance draws for the second evidence, a list of ``draws.Batch`` to which they are appended;
        empty until the run converged.
    pace
        Iterations per second since the run stood elsewhere.
    densities
        What was known of the posterior when the run began (``start.py``).
    scouted
        What came of the run before, ``None`` if there was none.
    """

    state: Any
    dead: list
    run_key: Any
    iteration: int
    seconds: float
    fingerprint: dict
    draws: list
    pace: float = 0.0
    densities: tuple[Any, ...] = ()
    scouted: Scouted | None = None

    def after(self, carry: tuple, block: Any, done: Any, seconds: float) -> Run:
        """
        The run some iterations on. Its arrays are copied to the host now, and JAX keeps the copies: saving them later
        needs no device.

        Parameters
        ----------
        carry, block, done
            What ``NestedSliceSampler.advance`` returned.
        seconds
            How long the run has lasted then.
        """
        (state, run_key), done = carry, int(done)
        jax.device_get(carry)
        dead = jax.tree.map(lambda x: np.concatenate(x[:done]), jax.device_get(block))
        return self._replace(
            state=state,
            dead=self.dead + [dead],
            run_key=run_key,
            iteration=self.iteration + done,
            seconds=seconds,
            pace=done / (seconds - self.seconds),
        )

    @property
    def settings(self) -> dict:
        """The arguments of the search that change its samples, as they are in effect."""
        return self.fingerprint["settings"]

    @property
    def remaining(self) -> float:
        """The log evidence of the live points relative to that of the dead points."""
        return float(self.state.integrator.logZ_live - self.state.integrator.logZ)

    @property
    def n_live(self) -> int:
        """The number of live points."""
        return len(self.state.particles.loglikelihood)

    @property
    def evaluations(self) -> int:
        """Likelihood evaluations of nested sampling, those of the initial points among them."""
        return self.n_live + sum(int(block.update_info.evaluations.sum(dtype=np.int64)) for block in self.dead)

    @property
    def drawn(self) -> int:
        """How many importance draws were evaluated."""
        return sum(len(batch.positions) for batch in self.draws)

    @property
    def evaluations_before(self) -> int:
        """Those of the run before."""
        return self.scouted.evaluations if self.scouted else 0

    @property
    def points(self) -> Points:
        """All points; at least one iteration must be done."""
        live = jax.device_get(self.state.particles)
        position, log_likelihood, log_prior, birth = (
            np.concatenate([getattr(block.particles, name) for block in self.dead] + [getattr(live, name)])
            for name in ("position", "loglikelihood", "logdensity", "loglikelihood_birth")
        )
        num_delete = (len(birth) - self.n_live) // self.iteration
        return Points(position, log_likelihood, log_prior, birth, self.n_live, num_delete)

    @property
    def chains(self) -> ChainRecord:
        """The ``ChainRecord`` of all chains, ``(iterations * num_delete,)`` each, iteration by iteration."""
        return jax.tree.map(lambda *x: np.concatenate(x), *(block.update_info for block in self.dead))
