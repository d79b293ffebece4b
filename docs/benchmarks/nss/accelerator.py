"""Whole fits of two lenses on an accelerator, in parts; what evaluations cost there; and a fit that is killed there.

    python docs/benchmarks/nss/accelerator.py [--rows ...] [--budget 570] [--log FILE]

Each row comes from a process of its own with an empty JAX compilation cache, and is printed as soon as it is known,
the most important first. A row begins only if enough of the budget is left, and ends with its limit or the budget.

- Fits: seconds of the whole, imports included, and of its parts, in brackets what of them was tracing and compiling
  (with PyAutoFit's own NSS and Nautilus, in the sampling). Corner plots are off, all other output is as it comes.
  ``chunk_size=50`` leaves each chain one point at a time.
- evaluations: of the likelihood, vmapped, by the size of the batch.
- resume: a small fit that is killed after its first checkpoint and goes on there and, from a copy, on the CPU.

``--platform cpu --rows profile resume`` tries the script where there is no accelerator.
"""

import argparse
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from functools import partial
from pathlib import Path

# Of each row the seconds that have to be left and the most that it takes; of a fit its problem, sampler and options.
ROWS = {
    "mge": (60, 200, "mge", "NSS", dict(n_live=150, num_delete=50, n_eff=5_000)),
    "sersic": (60, 200, "sersic", "NSS", dict(n_live=210, num_delete=50, n_eff=5_000)),
    "mge-one": (60, 200, "mge", "NSS", dict(n_live=150, num_delete=50, chunk_size=50, n_eff=5_000)),
    "evaluations": (30, 90),
    "resume": (30, 100),
    "nautilus": (60, 180, "mge", "Nautilus", dict(n_live=200, n_batch=100)),
    "stock": (60, 600, "mge", "NSS", dict(n_live=150, num_delete=50, num_mcmc_steps=30)),
    "mge-1000": (60, 300, "mge", "NSS", dict(n_live=1_000, num_delete=250, n_eff=5_000)),
    "sersic-1000": (60, 300, "sersic", "NSS", dict(n_live=1_000, num_delete=250, n_eff=5_000)),
    "profile": (10, 300, "profile", "NSS", dict(n_live=150, num_delete=50, n_eff=5_000)),
}
PARTS = ("before the first iteration", "nested sampling", "second evidence, samples", "results")
# What is logged when each ends: by ours; before sampling by PyAutoFit's NSS and Nautilus, and after theirs the third.
ENDS = {"Compiled the sampler": PARTS[0], "NSS converged": PARTS[1], "Fit Running: Updating results": PARTS[2]}
ENDS |= {"Starting NSS non-linear search": PARTS[0], "Running search with JAX": PARTS[0]}
HEADINGS = {"evaluations": ("lens", "batch", "one batch", "evaluations per second")}
HEADINGS["resume"] = ("small fit", "resumed", "converged", "log evidence", "same bytes")
FIT = ("fit", "options", "whole fit", *PARTS, "evaluations", "log evidence")


def problem_of(name: str):
    import problems  # before jax: it switches float64 on

    return problems.profile(2, 2_000) if name == "profile" else problems.small_lens(name)


def fit(row: str, problem_name: str, sampler: str, options: dict) -> None:
    """Print each part when it ends, and all of them in the end."""
    problem = problem_of(problem_name)
    import autofit as af
    import jax

    compilations, ends, parts = [], [(float(os.environ["STARTED"]), 0.0)], {}

    def compiled(event: str, start: float, end: float, **_) -> None:
        if event.startswith("/jax/core/compile/"):
            while compilations and compilations[-1][0] >= start:  # within this one
                compilations.pop()
            compilations.append((start, end))

    def ended(part: str) -> None:
        part = PARTS[1] if part == PARTS[2] and PARTS[1] not in parts else part  # where there is no second evidence
        ends.append((time.time(), sum(end - start for start, end in compilations)))
        seconds, compiling = (now - before for now, before in zip(ends[-1], ends[-2], strict=True))
        parts[part] = f"{seconds:.1f} s ({compiling:.1f})"
        print(f"\n{row}: {part} {parts[part]}", flush=True)

    def hear(record: logging.LogRecord) -> bool:
        for text, part in ENDS.items():
            if record.getMessage().startswith(text):
                ended(part)
        return True

    logging.getLogger().handlers[0].addFilter(hear)
    jax.monitoring.register_event_time_span_listener(compiled)
    af.conf.instance.output_path = tempfile.mkdtemp()
    plots = af.conf.instance["visualize"]["plots_search"]["nest"]
    plots["corner_anesthetic"] = plots["corner_anesthetic_components"] = False
    samples = getattr(af, sampler)(name="fit", seed=1, **options).fit(problem.model, problem.analysis).samples
    ended(PARTS[3])
    info, chosen = samples.samples_info, ", ".join(f"{name}={value}" for name, value in options.items())
    error = f" ± {info['log_evidence_error']:.2f}" if "log_evidence_error" in info else ""
    found = f"{info['total_samples']:,}", f"{samples.log_evidence:.2f}{error}"
    print_row(row, chosen, f"{ends[-1][0] - ends[0][0]:.0f} s", *(parts.get(part, "") for part in PARTS), *found)


def evaluations(row: str) -> None:
    for name in ("mge", "sersic"):
        problem = problem_of(name)
        import jax

        vmapped = jax.jit(jax.vmap(problem.functions()[1]))
        for batch in (50, 1_000, 8_000):
            call = partial(lambda f, x: jax.block_until_ready(f(x)), vmapped, problem.draw(batch))
            once = statistics.median(timeit.repeat(call, number=1, repeat=12)[1:])  # the first one compiles
            print_row(name, f"{batch:,}", f"{1e3 * once:.1f} ms", f"{batch / once:,.0f}")


def resume(row: str) -> None:
    sys.path.append(str(Path(__file__).parents[2] / "searches_minimal"))
    import nss_checkpoint_resume as example
    import numpy as np
    import sessions

    killed, copy, in_one_go = (Path(tempfile.mkdtemp()) / "fit" for _ in range(3))
    print(example.kill_at_a_random_moment(killed))
    shutil.copytree(killed, copy)
    for name, folder in (("in one go", in_one_go), ("killed", killed), ("killed, goes on on the CPU", copy)):
        os.environ["JAX_PLATFORMS"] = "cpu" if folder == copy else os.environ["JAX_PLATFORMS"]
        sessions.finish(example.__file__, folder)
        print(sessions.log_of(folder))
        said = (" ".join(sessions.logged(folder, text)) for text in ("Resuming NSS", "NSS converged"))
        same = "yes" if all(sessions.same_bytes(folder, in_one_go).values()) else "no"
        print_row(name, *said, f"{np.load(folder / 'result.npz')['log_evidence']:.4f}", same)


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def measure(row: str, limit: float, log, environment: dict) -> None:
    """Show what the row's process finds and log all that it prints; it and its own end with the limit."""
    with tempfile.TemporaryDirectory() as cache:
        own = {"JAX_COMPILATION_CACHE_DIR": cache, "STARTED": str(time.time())}
        environment = {**environment, **own, "AUTOFIT_NSS": "stock" if row == "stock" else ""}
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        process = subprocess.Popen([sys.executable, __file__, "--one", row], env=environment, **pipes)
        line, end = "", threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        end.start()
        for line in process.stdout:
            print(line, end="", file=log, flush=True)
            if line.startswith(("| ", f"{row}: ")):
                print(line, end="", flush=True)
        end.cancel()
    if process.wait():
        print_row(row, f"over {limit:.0f} s" if process.returncode == -signal.SIGKILL else f"failed: {line.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS)[:-1])
    parser.add_argument("--budget", type=float, default=570.0, help="seconds, for all rows")
    parser.add_argument("--platform", default="cuda")
    parser.add_argument("--log", default=os.devnull, help="where all is kept that the rows' processes print")
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        _, _, *arguments = ROWS[given.one]
        sys.exit((fit if arguments else globals()[given.one])(given.one, *arguments))

    end, heading = time.monotonic() + given.budget, None
    # Where JAX computes, and the CPU, which callbacks need.
    environment = {**os.environ, "JAX_PLATFORMS": ",".join(dict.fromkeys([given.platform, "cpu"]))}
    say = "import jax; print(jax.devices()[0].device_kind, 'jax', jax.__version__, sep=', ', flush=True)"
    subprocess.run([sys.executable, "-c", say], env=environment, check=True)
    with open(given.log, "a") as log:
        for row in given.rows:
            (least, most, *_), left = ROWS[row], end - time.monotonic()
            if left < least:
                print_row(row, f"not begun, {left:.0f} s left")
                continue
            if heading != (heading := HEADINGS.get(row, FIT)):
                print(f"\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|", flush=True)
            measure(row, min(most, left), log, environment)


if __name__ == "__main__":
    main()
