"""Whole fits of two lenses on an accelerator, in parts; what evaluations cost there; and fits that are killed or run
out of memory there.

    python docs/benchmarks/nss/accelerator.py [--rows ...] [--lanes 2] [--budget 570] [--log FILE]

Each row comes from a process of its own with an empty JAX compilation cache. Two rows run at once, each with half of
the processor's cores and of the accelerator's memory, the most important first. A row begins only if enough of the
budget is left, and ends with its limit or the budget. What rows find is printed as soon as it is known, and as tables
in the end.

- Fits: seconds of the whole, imports included, and of its parts, in brackets what of them was tracing and compiling
  (with PyAutoFit's own NSS and Nautilus, in the sampling). Corner plots are off, all other output is as it comes.
  Nautilus hardly uses the accelerator, so what runs beside it is not slowed down; beside PyAutoFit's own NSS it is.
  ``chunk_size=50`` leaves each chain one point at a time.
- evaluations: of the likelihood, vmapped, by the size of the batch.
- resume: a small fit that is killed after its first checkpoint and goes on there and, from a copy, on the CPU.
- memory: a fit whose likelihood takes 0.8 GB, so that 150 at once do not fit.

``--platform cpu --rows profile resume`` tries the script where there is no accelerator.
"""

import argparse
import logging
import math
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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

# Of each row the seconds that have to be left and the most that it takes; of a fit its problem, sampler and options.
ROWS = {
    "mge": (60, 300, "mge", "NSS", dict(n_live=150, num_delete=50, n_eff=5_000)),
    "nautilus": (60, 400, "mge", "Nautilus", dict(n_live=200, n_batch=100)),
    "sersic": (60, 300, "sersic", "NSS", dict(n_live=210, num_delete=50, n_eff=5_000)),
    "mge-1000": (60, 300, "mge", "NSS", dict(n_live=1_000, num_delete=250, n_eff=5_000)),
    "evaluations": (30, 90),
    "resume": (30, 150),
    "memory": (30, 100),
    "sersic-1000": (60, 300, "sersic", "NSS", dict(n_live=1_000, num_delete=250, n_eff=5_000)),
    "stock": (60, 600, "mge", "NSS", dict(n_live=150, num_delete=50, num_mcmc_steps=30)),
    "mge-one": (60, 300, "mge", "NSS", dict(n_live=150, num_delete=50, chunk_size=50, n_eff=5_000)),
    "profile": (10, 300, "profile", "NSS", dict(n_live=150, num_delete=50, n_eff=5_000)),
}
PARTS = ("before the first iteration", "nested sampling", "second evidence, samples", "results")
# What is logged when each ends: by ours; before sampling by PyAutoFit's NSS and Nautilus, and after theirs the third.
ENDS = {"Compiled the sampler": PARTS[0], "NSS converged": PARTS[1], "Fit Running: Updating results": PARTS[2]}
ENDS |= {"Starting NSS non-linear search": PARTS[0], "Running search with JAX": PARTS[0]}
HEADINGS = {"evaluations": ("lens", "batch", "one batch", "evaluations per second")}
HEADINGS["resume"] = ("small fit", "resumed", "converged", "log evidence", "same bytes")
HEADINGS["memory"] = ("what the fit said",)
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
            while compilations and compilations[-1][1] > start:  # within this one, or in another thread
                start = min(start, compilations.pop()[0])
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


def memory(row: str) -> None:
    import autofit as af
    import jax.numpy as jnp
    from jax.lax import optimization_barrier
    from problems import VectorAnalysis

    def hear(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "memory" in message or "at once" in message:
            print_row(message)
        return True

    logging.getLogger().handlers[0].addFilter(hear)
    af.conf.instance.output_path = tempfile.mkdtemp()
    model = af.Collection(x0=af.UniformPrior(-10.0, 10.0))
    analysis = VectorAnalysis(lambda x: optimization_barrier(-0.5 * x[0] ** 2 * jnp.ones(100_000_000))[0])
    samples = af.NSS(seed=1, n_live=150, num_delete=50, num_importance_draws=500).fit(model, analysis).samples
    truth = 0.5 * math.log(2.0 * math.pi) - math.log(20.0)
    print_row(f"Log evidence {samples.log_evidence:.3f}, and in truth {truth:.3f}.")


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def measure(row: str, limit: float, log, environment: dict, cores: list[int]) -> list[str]:
    """The lines that the row's process finds; it and its own end with the limit. Log all that it prints."""
    lines, line = [], ""
    with tempfile.TemporaryDirectory() as cache:
        own = {"JAX_COMPILATION_CACHE_DIR": cache, "STARTED": str(time.time())}
        environment = {**environment, **own, "AUTOFIT_NSS": "stock" if row == "stock" else ""}
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        process = subprocess.Popen([sys.executable, __file__, "--one", row], env=environment, **pipes)
        os.sched_setaffinity(process.pid, cores)
        end = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        end.start()
        for line in process.stdout:
            print(f"{row}: {line}", end="", file=log, flush=True)
            if line.startswith(("| ", f"{row}: ")):
                print(line, end="", flush=True)
                lines += [line] if line.startswith("| ") else []
        end.cancel()
    if process.wait():
        why = f"killed, or over {limit:.0f} s" if process.returncode == -signal.SIGKILL else f"failed: {line.strip()}"
        lines.append(f"| {row} | {why} |\n")
        print(lines[-1], end="", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS)[:-2])
    parser.add_argument("--lanes", type=int, default=2, help="rows at once")
    parser.add_argument("--budget", type=float, default=570.0, help="seconds, for all rows")
    parser.add_argument("--platform", default="cuda")
    parser.add_argument("--log", default=os.devnull, help="where all is kept that the rows' processes print")
    parser.add_argument("--one", choices=ROWS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        _, _, *arguments = ROWS[given.one]
        sys.exit((fit if arguments else globals()[given.one])(given.one, *arguments))

    end, rows, tables = time.monotonic() + given.budget, iter(given.rows), {}
    # Where JAX computes, and the CPU, which callbacks need.
    environment = {**os.environ, "JAX_PLATFORMS": ",".join(dict.fromkeys([given.platform, "cpu"]))}
    say = "import jax; print(jax.devices()[0].device_kind, 'jax', jax.__version__, sep=', ', flush=True)"
    subprocess.run([sys.executable, "-c", say], env=environment, check=True)
    environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.75 / given.lanes}"
    cores = sorted(os.sched_getaffinity(0))

    def measure_what_is_left(lane: int) -> None:
        for row in rows:
            (least, most, *_), left = ROWS[row], end - time.monotonic()
            table = tables.setdefault(HEADINGS.get(row, FIT), [])
            if left < least:
                table.append(f"| {row} | not begun, {left:.0f} s left |\n")
            else:
                share = len(cores) // given.lanes
                own = cores[lane * share : (lane + 1) * share] or cores
                table += measure(row, min(most, left), log, environment, own)

    with open(given.log, "a") as log, ThreadPoolExecutor(given.lanes) as lanes:
        list(lanes.map(measure_what_is_left, range(given.lanes)))
    for heading, lines in tables.items():
        print(f"\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|\n{''.join(lines)}", end="", flush=True)


if __name__ == "__main__":
    main()
