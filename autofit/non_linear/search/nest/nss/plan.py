"""Plan: what one run is to be, decided before it begins. Knows what was asked for, not files or devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .evidence import trust
from .evidence.start import scouts
from .sampling.slices import MOVES
from .saving.resume import NOTHING

# How many effective samples for each live point a run that starts from what is known goes on to.
SAMPLES_PER_LIVE_POINT = 5
# How many draws are made for a second evidence where nobody says.
LEAST_DRAWS, MOST_DRAWS = 2_000, 50_000


@dataclass(frozen=True)
class Plan:
    """
    What one run is to be: the arguments of the search that it is made with, where ``seed`` is that of the sampling.

    Attributes
    ----------
    num_mcmc_steps
        ``None`` where they follow from the parameters and the moves.
    num_importance_draws
        ``None`` where they follow from the evaluations of the run.
    wanted_samples
        Effective samples that the draws are to give, 0 for those of nested sampling.
    known, start
        The earlier fits that the run starts from, and what of them a checkpoint records.
    in_vain
        Whether an earlier run, which began with ``start_from``, failed its checks.
    """

    n_dim: int
    n_live: int
    num_delete: int
    num_mcmc_steps: int | None
    termination: float
    seed: int
    moves: str
    num_importance_draws: int | None
    wanted_samples: int
    known: tuple[Any, ...] = ()
    start: str = NOTHING
    in_vain: bool = False

    def __str__(self) -> str:
        """What a log says of it."""
        more = " or more" if self.adapts else ""
        return (
            f"{self.n_dim} parameters, n_live={self.n_live}, num_delete={self.num_delete}, "
            f"num_mcmc_steps={self.slices}{more}, moves={self.moves!r}"
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the samples of the run, as its checkpoint records it."""
        names = "n_live", "num_mcmc_steps", "num_delete", "termination", "seed", "moves"
        return {**{name: getattr(self, name) for name in names}, "start_from": self.start, "in_vain": self.in_vain}

    @property
    def slices(self) -> int:
        """Slices of a chain, or of each of its rounds."""
        of_parameters = trust.least_steps if MOVES[self.moves].only_shrinks else trust.recommended_steps
        return self.num_mcmc_steps or of_parameters(self.n_dim)

    @property
    def adapts(self) -> bool:
        """Whether chains make more rounds while they do not get far."""
        return self.num_mcmc_steps is None and MOVES[self.moves].only_shrinks and not self.known

    def draws_after(self, evaluations: int) -> int:
        """Draws for the second evidence of a run of so many evaluations."""
        if self.num_importance_draws is not None:
            return self.num_importance_draws
        return int(np.clip(evaluations // 33, LEAST_DRAWS, MOST_DRAWS))


def plans_of(search: Any, n_dim: int) -> list[Plan]:
    """
    The runs of a fit with the arguments of ``search``: one from the prior. With ``start_from`` a smaller one before
    it, which looks for what that does not know; the one from the prior follows where that was in vain.
    """
    known, n_eff = search.start_from, search.n_eff or 0
    names = "n_live", "num_delete", "num_mcmc_steps", "termination", "moves", "num_importance_draws"
    as_asked_for = {name: getattr(search, name) for name in names}
    whole = Plan(n_dim, seed=search.backend_seed, wanted_samples=n_eff, **as_asked_for)
    if not known:
        return [whole]
    n_live, num_delete = scouts(search.n_live, search.num_delete, n_dim)
    after = replace(
        whole,
        wanted_samples=n_eff or SAMPLES_PER_LIVE_POINT * search.n_live,
        start=f"{len(known)} fit(s)",
        in_vain=True,
    )
    return [replace(after, n_live=n_live, num_delete=num_delete, known=known, in_vain=False), after]
