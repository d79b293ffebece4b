"""Points of a finished run, and draws of densities, made in batches that can be made again. NumPy; no models.

All points are in the space where the prior is a standard normal.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from .mixture import Mixture
from .weights import bounded, independent_samples, log_ratios

# Positions are drawn in blocks of so many, each of a seed of its own, so that more can be drawn later.
BLOCK = 1024


class RunPoints(NamedTuple):
    """
    Points of a finished run.

    Attributes
    ----------
    positions
        ``(n, n_dim)`` float.
    log_likelihood
        ``(n,)`` float.
    log_weights
        ``(n,)`` float: log posterior weights of any sum.
    effective
        How many independent samples of the posterior they are worth.
    """

    positions: np.ndarray
    log_likelihood: np.ndarray
    log_weights: np.ndarray
    effective: float

    def halves(self, seed: int) -> tuple["RunPoints", "RunPoints"]:
        """Those that serve fits, and those that the result is compared with."""
        fitted = np.random.default_rng(seed).random(len(self.log_likelihood)) < 0.5

        def half(chosen: np.ndarray) -> "RunPoints":
            positions, log_likelihood, log_weights = (values[chosen] for values in self[:3])
            return RunPoints(positions, log_likelihood, log_weights, 0.5 * self.effective)

        return half(fitted), half(~fitted)

    @property
    def weights(self) -> np.ndarray:
        """``(n,)`` float: posterior weights that sum to one."""
        return softmax(self.log_weights)


class Draws(NamedTuple):
    """
    Draws of a density: a batch that was evaluated together, or all of them.

    Attributes
    ----------
    density
        What they were drawn from; ``None`` in a batch that goes on with the density of the batch before.
    positions
        ``(n, n_dim)`` float.
    log_likelihood
        ``(n,)`` float; empty until they are evaluated.
    """

    density: Mixture
    positions: np.ndarray
    log_likelihood: np.ndarray

    @property
    def log_weights(self) -> np.ndarray:
        """``(n,)`` float: log of likelihood times prior over the density they were drawn from."""
        return log_ratios(self.density, self.positions, self.log_likelihood)

    @property
    def efficiency(self) -> float:
        """How many independent samples a draw is worth, not counting the rarest, largest weights."""
        return independent_samples(self.positions, bounded(self.log_weights)) / len(self.positions)


class Drawing:
    """
    Draws from densities, stage after stage.

    Parameters
    ----------
    evaluate
        ``evaluate(batch) -> batch``: the first of its positions, as many as it likes, with their log likelihoods.
    seed
        Of the draws.
    batches
        Those evaluated so far, which are not made again; those to come are appended.
    after_each
        Called after each batch to come.
    """

    def __init__(
        self,
        evaluate: Callable[[Draws], Draws],
        seed: int,
        batches: list[Draws],
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        self._evaluate = evaluate
        self._seed = seed
        self.batches = batches
        self._after_each = after_each

    def draws(self, stage: int, fit: Callable[[], Mixture], number: int) -> Draws:
        """So many draws, at least, from the density that ``fit`` returns; it is called only before the first."""
        found = drawn(self.batches)[stage : stage + 1]
        density, done = (found[0].density, len(found[0].positions)) if found else (fit(), 0)
        while done < number:
            first = done - done % BLOCK
            blocks = [
                density.draw(BLOCK, np.random.default_rng((self._seed, stage, block)))
                for block in range(first // BLOCK, -(-number // BLOCK))
            ]
            positions = np.concatenate(blocks)[done - first : number - first]
            # Stored once, with the first batch.
            batch = Draws(None if done else density, positions, np.empty(0))  # pyright: ignore[reportArgumentType]
            self.batches.append(self._evaluate(batch))
            self._after_each()
            done += len(self.batches[-1].positions)
        return drawn(self.batches)[stage]


def drawn(batches: Sequence[Draws]) -> list[Draws]:
    """All draws of each density, from their batches."""
    found: list[Draws] = []
    for density, positions, log_likelihood in batches:
        if density is None:
            density, before, likelihood_before = found.pop()
            positions = np.concatenate([before, positions])
            log_likelihood = np.concatenate([likelihood_before, log_likelihood])
        found.append(Draws(density, positions, log_likelihood))
    return found
