"""The sampler of a fit on its devices: made, compiled, called so that signals are answered, and made again with fewer
likelihoods at once where memory runs out. Knows nothing of models, files or pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from logging import Logger
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from autofit import exc

from .sampling import kernel
from .sampling.sharding import share_of
from .sampling.slices import MOVES
from .stopping.processes import are_several

if TYPE_CHECKING:
    from .plan import Plan
    from .stopping.processes import Meeting
    from .stopping.signals import Interruptions

# With fewer live points than this an accelerator is mostly idle; with so many, and so many of them replaced at once,
# it is not (docs/searches/nss/performance.md).
FEW_AT_ONCE, FULL = 500, (1000, 250)


class DeviceSampler:
    """
    The sampler of one run on its devices; its ``functions`` are for as many likelihoods at once as fit into memory.

    ``log_prior`` and ``log_likelihood`` are traceable functions of one ``(n_dim,)`` position, ``chunk_size`` is the
    user's, and ``n_live`` the search's: an accelerator evaluates so many likelihoods at once if it can. A signal is
    answered by calling ``save``.
    """

    functions: kernel.NestedSliceSampler

    def __init__(
        self,
        log_prior: Callable,
        log_likelihood: Callable,
        plan: Plan,
        chunk_size: int | None,
        n_live: int,
        devices: list[Any],
        interruptions: Interruptions,
        save: Callable[[], None],
        logger: Logger,
    ) -> None:
        self._plan, self._devices, self._logger = plan, devices, logger
        self._interruptions, self._save = interruptions, save
        is_cpu = devices[0].platform == "cpu"
        self._of_chunks = partial(
            kernel.nested_slice_sampler,
            log_prior=log_prior,
            log_likelihood=log_likelihood,
            num_delete=plan.num_delete,
            num_mcmc_steps=plan.slices,
            termination=plan.termination,
            moves=MOVES[plan.moves],
            adapts=plan.adapts,
            devices=devices,
            # An accelerator is faster the more it has to do; a CPU is not, and computes what is padded, too.
            num_at_once=None if is_cpu else share_of(n_live, len(devices)),
        )
        if is_cpu and chunk_size is None:
            chunk_size = kernel.best_chunk_size_of_a_cpu(log_likelihood, plan.n_dim)
        self._make(chunk_size)
        if not is_cpu and chunk_size is None and n_live < FEW_AT_ONCE * len(devices):
            numbers = (len(devices) * number for number in FULL)
            self._logger.info(
                "The accelerator is mostly idle with n_live=%d. With n_live=%d and num_delete=%d it makes several "
                "times as many evaluations in twice the time.",
                *(n_live, *numbers),
            )

    def compile_ahead(self) -> None:
        """Compile what moves chains, which takes longest, while the first points are evaluated."""
        # With several devices it is not known yet how the arguments are divided.
        if len(self._devices) == 1:
            positions = np.empty((self._plan.n_live, self._plan.n_dim))
            state = jax.eval_shape(self.functions.init, positions, positions[:, 0])
            at = state, jax.eval_shape(jax.random.PRNGKey, 0)
            self._interruptions.compile_ahead(self.functions.advance, at, 1, save=self._save)

    def advance(self, state: Any, run_key: Any, iterations: int) -> tuple:
        """The ``advance`` of ``NestedSliceSampler``."""
        at = state, run_key
        compute = lambda: self._call(self.functions.advance, at, what="the sampler", number=iterations)  # noqa: E731
        return self._in_memory(compute, lambda: self.functions.lanes * self.functions.candidates)

    def log_likelihoods(self, positions: np.ndarray) -> np.ndarray:
        """``(n,)`` float: those of ``(n, n_dim)`` positions."""
        call = lambda rows, number: self._call(self.functions.evaluate, rows, what="the likelihood", number=number)  # noqa: E731
        compute = lambda: self.functions.log_likelihoods(positions, call)  # noqa: E731
        return self._in_memory(compute, lambda: self.functions.rows_at_once // len(self._devices))

    def state_at(self, positions: np.ndarray) -> Any:
        """The state of a run with ``(n_live, n_dim)`` live points."""
        log_likelihoods = self.log_likelihoods(positions)
        return self._call(self.functions.init, positions, log_likelihoods, what="the first state")

    def meeting(self) -> Meeting:
        """How this process meets the others that compute with it."""
        return self._interruptions.meeting(self._save)

    def _call(self, function: Any, *arguments: Any, what: str, number: int | None = None) -> Any:
        return self._interruptions.call(function, *arguments, what=what, save=self._save, number=number)

    def _in_memory(self, compute: Callable[[], Any], at_once: Callable[[], int]) -> Any:
        """What ``compute`` returns, with ``at_once()`` likelihoods in memory; with half as many where it runs out."""
        while True:
            try:
                return compute()
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                number, what = at_once(), str(error).splitlines()[0]
                if number == 1 or are_several():  # another process may have more memory, and all must compute alike
                    raise exc.SearchException(
                        f"The device ran out of memory with {number} likelihood(s) at once ({what}). Pass a smaller "
                        "chunk_size, or use a device with more memory, or a likelihood that needs less."
                    ) from error
            self._logger.warning(
                "The device ran out of memory with %d likelihoods at once (%s). The run goes on with half as many, "
                "and may differ in the last digits; pass chunk_size=%d to begin with these.",
                *(number, what, number // 2),
            )
            self._interruptions.forget_compiled()
            self._make(number // 2)

    def _make(self, chunk_size: int | None) -> None:
        self.functions, device = self._of_chunks(chunk_size=chunk_size), self._devices[0]
        where = f"{len(self._devices)} {device.platform.upper()} ({device.device_kind})"
        at_once = self.functions.lanes * self.functions.candidates
        self._logger.info("Likelihoods evaluated at once: %d on each of %s.", at_once, where)
