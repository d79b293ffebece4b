"""A run's checkpoint: how it is saved, gone on from, and refused. Knows runs and values, not the search."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from typing import Any

import jax
import numpy as np
from autofit import exc

from ..evidence.mixture import Mixture
from ..sampling import records
from ..sampling.run import Run, Scouted
from . import checkpoint
from .checkpoint import CheckpointError, DamagedCheckpointError, Extent, History
from .fingerprint import check_densities, check_shape, check_values, differences, first_difference

# What the settings of a run say of its start where it starts from the prior.
NOTHING = "nothing"
# How old the newest checkpoint may be: a checkpoint takes milliseconds, an iteration may take a minute.
MAX_AGE_SECONDS = 30.0


def started_in_vain(path: Path | None) -> bool:
    """Whether the run checkpointed at ``path`` follows one that started from what was known, which was of no use."""
    for file in (path, checkpoint.previous_path(path)) if path else ():
        try:
            settings = checkpoint.load_notes(file).get("fingerprint", {}).get("settings", {})
        except (CheckpointError, OSError):
            continue
        return settings.get("in_vain", False)
    return False


class RunCheckpoint:
    """
    The checkpoint of one fit, at ``path``, beside which its other files lie; ``None`` where nothing is stored.

    Draws that were made for another number than ``wanted_draws`` are made anew. Where it does not save, a checkpoint
    that is there is gone on from all the same. ``check_folder`` raises an error where the folder has become another
    process's, and is called before something is written.
    """

    def __init__(
        self,
        path: Path | None,
        fingerprint: dict,
        wanted_draws: int | None,
        saves: bool,
        logger: Logger,
        check_folder: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path or Path()
        self._stores = path is not None
        self._saves = saves and self._stores
        self._fingerprint = fingerprint
        self._wanted_draws = wanted_draws
        self._logger = logger
        self._check_folder = check_folder
        self._on_disk = None
        self._saved_at = 0.0  # in seconds of the run
        self._left_at = None
        self._fails = False

    def what_next(self) -> str:
        """What the same script does when it is run again after this moment, for messages."""
        if self._on_disk is None:
            return "the same script begins it again"
        return f"the same script goes on from the checkpoint of iteration {self._on_disk}"

    def begin(
        self, state: Any, run_key: jax.Array, densities: tuple[Mixture, ...], scouted: Scouted | None = None
    ) -> Run:
        """A run that begins with this state and these densities, or from the prior after one that did in vain."""
        dead, draws = [], []
        if self._stores:
            dead, draws = History(checkpoint.history_path(self._path)), History(checkpoint.draws_path(self._path))
        seconds = scouted.seconds if scouted else 0.0
        run = Run(state, dead, run_key, 0, seconds, self._fingerprint, draws, densities=densities, scouted=scouted)
        self._saved_at = seconds
        if scouted and self._saves:
            checkpoint.discard_run(self._path)
            self.save_if(True, run)
        return run

    def load(self) -> Run | None:
        """
        The run to go on with, ``None`` if none was checkpointed.

        Raises
        ------
        SearchException
            If it is damaged, or of other settings or another model; the message says what differs and what to do.
        """
        if not (self._stores and self._path.exists()):
            return None
        with self._refusing():
            state, dead, run_key, iteration = self._load_newest_whole()
            notes = checkpoint.load_notes(self._path)
            fingerprint = self._accepted(notes.get("fingerprint", {}))
        if not isinstance(dead, History):
            dead = History(checkpoint.history_path(self._path), list(map(records.with_records_only, dead)))
        seconds, densities = notes.get("seconds", 0.0), notes.get("densities", ())
        self._on_disk, self._saved_at = iteration, seconds
        scouted = Scouted(*notes["scouted"]) if notes.get("scouted") else None
        known = {"densities": densities, "scouted": scouted}
        return Run(state, dead, run_key, iteration, seconds, fingerprint, self._draws(notes), **known)

    def verify(self, run: Run, evaluate: Callable[[np.ndarray], Any], densities: tuple[Mixture, ...]) -> None:
        """
        Evaluate the live points of a loaded run again: another value tells of other data, or of another likelihood
        or prior. What it would start from now, ``densities``, is compared with what it started from.

        ``evaluate(positions) -> state`` is of ``(n_live, n_dim)`` positions. Raises ``SearchException`` if a value
        differs; the message names both.
        """
        with self._refusing():
            check_shape(run)
            check_densities(run.densities, densities)
            now = jax.device_get(evaluate(np.asarray(run.state.particles.position)).particles)
            check_values(run.state.particles, now)
        if rounding := first_difference(run.state.particles, now):
            self._logger.warning(
                "The %s of a checkpointed live point was %.12g and is %.12g now: more than rounding, as on another "
                "device or where a likelihood is noisy, but too little to be of other data. The run goes on; its "
                "result will not be bit for bit that of a run that was not interrupted.",
                *rounding,
            )

    def save_if(self, due: bool, run: Run) -> None:
        """
        Write a checkpoint if one is due, or if the newest is older than ``MAX_AGE_SECONDS``, and checkpoints are
        wanted. A failure to write is logged once until a later checkpoint succeeds, and never stops the fit.

        Raises
        ------
        FolderInUseError
            If the folder has become another process's.
        """
        due = due or run.seconds - self._saved_at > MAX_AGE_SECONDS
        if not (due and self._saves):
            return
        try:
            self._check_folder()
        except BaseException:
            self._saves = False  # nor is what another process has written to when this error ends the run
            raise
        notes = {"seconds": run.seconds, "fingerprint": run.fingerprint, "densities": run.densities}
        if run.scouted is not None:
            notes["scouted"] = tuple(run.scouted)
        self._saved_at = run.seconds
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._rewrite_what_is_lost(run)
            if run.draws and isinstance(run.draws, History):
                notes["draws"] = {"extent": tuple(run.draws.flush()), "wanted": self._wanted_draws}
            checkpoint._save_checkpoint(self._path, run.state, run.dead, run.run_key, run.iteration, notes)
        except OSError as error:
            if not self._fails:
                self._logger.error(
                    "The checkpoint of iteration %d could not be written (%s). One before it is still valid; "
                    "sampling goes on, and the next checkpoint is tried in its turn.",
                    run.iteration,
                    error,
                )
            self._fails = True
            return
        if self._fails:
            self._logger.info(
                "The checkpoint of iteration %d is written: checkpoints can be written again.", run.iteration
            )
        self._on_disk, self._fails = run.iteration, False

    def save_and_leave(self, run: Run) -> None:
        """What a signal or an error asks for, before it ends the run. What is saved already is not saved again."""
        at = run.iteration, len(run.draws)
        if at == self._left_at:
            return
        self.save_if(True, run)
        self._left_at = None if self._fails else at
        self._logger.info("NSS stops after iteration %d; %s.", run.iteration, self.what_next())

    def leave_at_the_start(self) -> None:
        """What a signal asks for before there is a run."""
        self._logger.info("NSS stops before the first iteration of this session; %s.", self.what_next())

    def _rewrite_what_is_lost(self, run: Run) -> None:
        """Have files written anew that are not as this process left them: the points are in memory, too."""
        for points in (run.dead, run.draws):
            if isinstance(points, History) and points.begin_anew_if_lost():
                self._logger.warning(
                    "%s is not as this fit left it: it was removed, replaced or cut off. It is written anew.",
                    points.path,
                )

    def _load_newest_whole(self) -> tuple:
        try:
            return checkpoint._load_checkpoint(self._path)
        except DamagedCheckpointError as damage:
            try:
                kept = checkpoint.restore_previous(self._path)
            except CheckpointError as error:
                raise CheckpointError(f"{damage} {error}") from damage
            self._logger.warning("%s It is kept as %s; the run goes on from the one before it.", damage, kept.name)
            return checkpoint._load_checkpoint(self._path)

    def _accepted(self, recorded: dict) -> dict:
        """The fingerprint of a run that goes on, from the one that was ``recorded``."""
        fingerprint = self._fingerprint
        recorded = {**recorded, "settings": {"start_from": NOTHING, **recorded.get("settings", {})}}
        if "moves" not in recorded["settings"]:
            fingerprint = {**fingerprint, "settings": {**fingerprint["settings"], "moves": "step_out"}}
            self._logger.info("The checkpoint does not say how chains move: the run goes on with 'step_out'.")
        different_run, remarkable = differences(recorded, fingerprint)
        if different_run:
            raise CheckpointError(f"The checkpoint is of another run: {'; '.join(different_run)}.")
        if remarkable:
            self._logger.warning("Since the checkpoint, %s. The run goes on.", "; ".join(remarkable))
        return fingerprint

    def _draws(self, notes: dict) -> History:
        """The importance draws of a checkpoint with these notes. Those that are damaged will be made again, alike."""
        path, stored = checkpoint.draws_path(self._path), notes.get("draws")
        if stored is None or stored["wanted"] != self._wanted_draws:
            return History(path)
        try:
            return History.load(path, Extent(*stored["extent"]))
        except (CheckpointError, OSError) as error:
            self._logger.warning("%s The importance draws are made again.", error)
            return History(path)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turns what is wrong with a checkpoint into the host's error, with what to do. No file is touched."""
        try:
            yield
        except CheckpointError as error:
            raise exc.SearchException(
                f"{error} Nothing was deleted. Restore what differs, or move {self._path.parent / self._path.stem}.* "
                "away to start anew, or give this fit another name."
            ) from error
