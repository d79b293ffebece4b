"""Checkpoints and finished fits as the host knows them, and what a finished fit lacks that is asked for now."""

from copy import copy
from pathlib import Path
from typing import Any

from autofit.non_linear.checkpoint import NativeFileCheckpointer
from autofit.non_linear.paths.abstract import AbstractPaths
from autofit.non_linear.paths.database import DatabasePaths
from autonerves.dictable import from_dict, to_dict


class ResumeState(NativeFileCheckpointer):
    """The checkpoint as the host knows it: what it looks for, and what it discards when the results are on disk."""

    def path(self, paths: AbstractPaths) -> Path | None:
        """Where it is; for a fit in a database too, in whose folder the searches of the host store nothing."""
        if isinstance(paths, DatabasePaths):
            return Path(paths.search_internal_path) / self.filename
        return super().path(paths)

    def discard(self, paths: AbstractPaths) -> None:
        from .checkpoint import discard  # which needs JAX, as the class of a search does not

        path = self.path(paths)
        if path is not None:
            discard(path)


def told_of(result: Any) -> tuple[dict, Any]:
    """The summary and the samples of a finished fit, without its model, for processes that do not see its files."""
    summary, samples = copy(result.samples_summary), result.samples
    summary.model = None
    return to_dict(summary), samples and type(samples)(None, samples.sample_list, samples.samples_info)


def as_told(told: tuple[dict, Any], model: Any) -> tuple[Any, Any]:
    """The summary and the samples that ``told_of`` gave, with a process's own model."""
    summary: Any = from_dict(told[0])
    summary.model = model
    if told[1] is not None:
        told[1].model = model
    return summary, told[1]


def doubt_about_finished(search: Any, result: Any) -> str:
    """
    What a finished fit lacks that is asked for now, and how to get it; empty if that is nothing. Only of arguments
    that change the result, but not the folder that the host gives the fit.
    """
    has = getattr(result.samples, "samples_info", None) or {}
    try:
        asked_before = search.paths.load_json("search")["arguments"]
    except (OSError, KeyError, TypeError, ValueError):
        asked_before = {}
    lacks = []
    if has.get("moves", search.moves) != search.moves:
        lacks.append(f"moves={search.moves!r} (it has {has['moves']!r})")
    # Asked for the same before, it has what could be had.
    for name, entry in (("n_eff", "ess"), ("num_importance_draws", "importance_draws")):
        wanted = getattr(search, name)
        if (wanted or 0) > has.get(entry, wanted or 0) and asked_before.get(name) != wanted:
            lacks.append(f"{name}={wanted} (it has {has[entry]})")
    if search.start_from and has and "start_unknown" not in has:
        lacks.append("start_from (it began without)")
    if not lacks:
        return ""
    return (
        f"This fit is finished, and its result is returned as it is, without {', '.join(lacks)}. For a result with "
        "them, give the fit another name or unique_tag; with start_from=[this result] that takes few evaluations."
    )
