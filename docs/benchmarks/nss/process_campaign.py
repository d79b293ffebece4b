"""A campaign against runs on several processes: one of them killed at a random moment, or signals to one or to all.

    python docs/benchmarks/nss/process_campaign.py [--seed 0] [--kills 40] [--signals 20]

A fit is begun, and gone on with, on two to four processes, each time as many as chance says. After a kill all others
must end within a minute; after a signal all must, with its status. Up to five of these, then the fit is let through:
every process must return the bytes of a fit of one process that was left alone. Prints a table, and ends with status
1 if anything else happened.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from processes import join_the_others, together

SETTINGS = dict(n_live=500, num_delete=20, num_mcmc_steps=5, chunk_size=2, checkpoint_interval=2)
COMPARED = ("positions", "log_likelihoods", "weights", "log_evidence", "evaluations")


def session(folder: Path) -> None:
    """A process of a run: a user's script."""
    process = join_the_others()

    import autofit as af

    class Analysis(af.Analysis):
        def log_likelihood_function(self, instance):
            return -5000.0 * ((instance.x - 0.3) ** 2 + (instance.y + 0.2) ** 2)

    af.conf.instance.output_path = folder / "output"
    af.conf.instance["output"]["latent_after_fit"] = False
    af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
    model = af.Collection(x=af.UniformPrior(-1.0, 1.0), y=af.UniformPrior(-1.0, 1.0))
    samples = af.NSS(name="campaign", **SETTINGS).fit(model=model, analysis=Analysis(use_jax=True)).samples
    found = (
        samples.parameter_lists,
        samples.log_likelihood_list,
        samples.weight_list,
        samples.log_evidence,
        samples.samples_info["total_samples"],
    )
    np.savez(folder / f"result-{process}.npz", **dict(zip(COMPARED, found, strict=True)))


def checkpoint_time(folder: Path) -> int:
    path = next(folder.rglob("nss_checkpoint.pkl"), None)
    return path.stat().st_mtime_ns if path else 0


def same(found: Path, expected: Path) -> bool:
    one, other = np.load(found), np.load(expected)
    return all(one[name].tobytes() == other[name].tobytes() for name in COMPARED)


class Campaign:
    """The fits of a campaign, in folders of ``base``; ``longest`` is the most seconds processes took to end."""

    def __init__(self, base: Path, rng: random.Random) -> None:
        self.base, self.rng, self.longest = base, rng, 0.0
        assert self.let_through(base / "alone", 1) == "identical"

    def disturb(self, folder: Path, victims: str, number: int) -> bool | None:
        """
        Send a signal to ``victims`` some time after a new checkpoint; whether all then ended as they should, ``None``
        if the fit was over before.
        """
        count, before = self.rng.randint(2, 4), checkpoint_time(folder)
        processes = together(count, __file__, "--session", folder, log=folder / f"{time.time_ns()}.log")
        while checkpoint_time(folder) == before and processes[0].poll() is None:
            time.sleep(0.001)
        time.sleep(self.rng.uniform(0.0, 0.3))
        if processes[0].poll() is not None:
            return None
        chosen = {"first": [0], "another": [self.rng.randrange(1, count)], "all": range(count)}[victims]
        for index in chosen:
            processes[index].send_signal(number)
        sent = time.monotonic()
        statuses = [process.wait(600.0) for process in processes]
        if not any(statuses):
            return None
        seconds = time.monotonic() - sent
        self.longest = max(self.longest, seconds)
        if number == signal.SIGKILL:
            return 0 not in statuses and seconds < 60.0
        return statuses == [128 + number] * count

    def let_through(self, folder: Path, count: int) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        processes = together(count, __file__, "--session", folder, log=folder / f"{time.time_ns()}.log")
        if any([process.wait(900.0) for process in processes]):
            return "FAILED"
        return self.verdict(folder)

    def verdict(self, folder: Path) -> str:
        """Whether all results in a folder are those of the fit that was left alone."""
        results, expected = list(folder.glob("result-*.npz")), self.base / "alone" / "result-0.npz"
        return "identical" if results and all(same(result, expected) for result in results) else "DIFFERENT"

    def row(self, kind: str, victims: str, number: int, signals: int) -> Counter:
        """So many signals to fits, each of which is let through in the end."""
        counted = Counter()
        while counted["signals"] < signals:
            folder = self.base / kind / str(counted["fits"])
            folder.mkdir(parents=True)
            ended, left = True, min(5, signals - counted["signals"])
            while ended is not None and left:
                ended, left = self.disturb(folder, victims, number), left - 1
                counted["signals"] += ended is not None
                counted["DID NOT END"] += ended is False
            # What a fit that is over returns again was read from its csv, without the samples of negligible weight.
            last = self.verdict(folder) if ended is None else self.let_through(folder, self.rng.randint(1, 4))
            counted[last] += 1
            counted["fits"] += 1
        return counted


def main(arguments: argparse.Namespace) -> int:
    base = Path(tempfile.mkdtemp(prefix="nss_process_campaign_"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(base / "jax"))
    campaign = Campaign(base, random.Random(arguments.seed))
    kills, signals = arguments.kills // 2, arguments.signals // 2
    rows = {
        "SIGKILL of the first process": ("first", "first", signal.SIGKILL, kills),
        "SIGKILL of another": ("another", "another", signal.SIGKILL, arguments.kills - kills),
        "SIGTERM to all": ("term", "all", signal.SIGTERM, signals),
        "SIGUSR1 to one": ("usr1", "another", signal.SIGUSR1, arguments.signals - signals),
    }
    columns = ("fits", "identical", "DIFFERENT", "FAILED", "DID NOT END")
    print(f"\nseed {arguments.seed}\n\n| | signals sent | " + " | ".join(columns).lower() + " |")
    print("|---|" + "---:|" * (1 + len(columns)))
    good = True
    for name, row in rows.items():
        counted = campaign.row(*row)
        good &= not any(counted[c] for c in columns[2:])
        cells = (name, *(str(counted[c]) for c in ("signals", *columns)))
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nAfter a signal, the last process ended within {campaign.longest:.0f} s.")
    print("Nothing was lost." if good else f"Something was LOST: see {base}")
    if good:
        shutil.rmtree(base)
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=40, help="SIGKILLs of one process")
    parser.add_argument("--signals", type=int, default=20, help="SIGTERMs and SIGUSR1s")
    given = parser.parse_args()
    sys.exit(session(given.session) if given.session else main(given))
