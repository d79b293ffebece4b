"""How long a fit takes to sample again when it is resumed, with everything in JAX's compilation cache.

    python docs/benchmarks/nss/startup.py [--problem profile|lens] [--repeats 5]

Prints medians of the seconds from the start of a process to the end of its imports, to the fit, and to the end of the
first new iteration; and how many programs were compiled, which were not in the cache.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from unittest import mock

from processes import measured


class _Leave(Exception):
    """Ends a session right after its first iterations."""


def session(problem_name: str, folder: str, started: float, leave_at: int) -> None:
    import problems  # first: it switches float64 on

    # isort: split
    import autofit as af
    import jax
    from autofit.non_linear.search.nest.nss.sampling.run import Run

    af.conf.instance.output_path = folder
    imported = time.time() - started
    compiled = []
    jax.monitoring.register_event_listener(
        lambda event, **_: compiled.append(event) if event == "/jax/compilation_cache/cache_misses" else None
    )
    problem = problems.lens(50) if problem_name == "lens" else problems.profile(components=2, pixels=2_000)
    times = {}
    real_after = Run.after

    def after(run, *arguments):
        run = real_after(run, *arguments)
        times.setdefault("iterated", time.time() - started)
        if run.iteration >= leave_at:
            raise _Leave
        return run

    search = af.NSS(name="startup", checkpoint_interval=1)
    times["fit"] = time.time() - started
    with mock.patch.object(Run, "after", after), contextlib.suppress(_Leave):
        search.fit(model=problem.model, analysis=problem.analysis)
    print(json.dumps([imported, times["fit"], times["iterated"], len(compiled)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=("profile", "lens"), default="profile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--session", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.session:
        folder, started, leave_at = given.session
        return session(given.problem, folder, float(started), int(leave_at))

    with tempfile.TemporaryDirectory() as folder:

        def measure(leave_at: int) -> list[float]:
            arguments = "--problem", given.problem, "--session", f"{folder}/output", time.time(), leave_at
            return measured(__file__, *arguments, JAX_COMPILATION_CACHE_DIR=f"{folder}/jax")

        first = measure(3)
        resumed = [measure(4 + repeat) for repeat in range(given.repeats)]
    print("| | imports | fit begins | first new iteration | compiled |\n|---|---:|---:|---:|---:|")
    medians = [statistics.median(column) for column in zip(*resumed, strict=True)]
    for name, (imported, begun, iterated, compiled) in (("first session", first), ("resumed", medians)):
        print(f"| {name} | {imported:.1f} s | {begun:.1f} s | {iterated:.1f} s | {compiled:.0f} |")
    return None


if __name__ == "__main__":
    main()
