"""What an accelerator makes of the kernel and of lenses, and a fit that changes from it to the CPU.

    python docs/benchmarks/nss/accelerator.py [--platform cuda]

Prints the table of kernel.py on the accelerator; the evaluations per second of two lenses there and on the CPU, for
several numbers of live points, chains and chains at once; whether a fit that is killed there ends with the same bytes
(nss_checkpoint_resume.py); and what one says that is killed there and goes on on the CPU. ``--platform cpu`` tries
the script where there is no accelerator.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import measured

EXAMPLE = Path(__file__).parents[2] / "searches_minimal" / "nss_checkpoint_resume.py"
KERNEL = Path(__file__).with_name("kernel.py")
# Live points, chains, and chains at once; those of the first line are what af.NSS takes on a CPU.
SIZES = ((200, 50, 18), (200, 50, 50), (1_000, 250, 250), (4_000, 1_000, 1_000))
ITERATIONS = 3
MOST_ON_A_CPU = 250  # chains; more take minutes there and tell nothing new


def evaluations_per_second(name: str, n_live: int, num_delete: int, chunk_size: int) -> dict:
    """Of a lens, after compilation, and the device."""
    import recorded_runs  # first: it switches float64 on

    # isort: split
    import jax
    from autofit.non_linear.search.nest.nss import kernel
    from autofit.non_linear.search.nest.nss.diagnostics import least_steps

    problem = recorded_runs.SETTINGS[name].problem()
    log_prior, log_likelihood, _ = problem.functions()
    steps = least_steps(problem.model.prior_count)
    sampler = kernel.nested_slice_sampler(
        log_prior, jax.jit(log_likelihood, inline=True), num_delete, steps, -3.0, chunk_size, adapts=True
    )
    # Between calls everything is NumPy's, as in a fit, so that nothing is compiled twice.
    carry = jax.device_get((sampler.init(problem.draw(n_live, 0)), jax.random.PRNGKey(0)))
    carry, *_ = jax.device_get(sampler.advance(carry, 1))
    started = time.perf_counter()
    _, dead, done = jax.device_get(sampler.advance(carry, ITERATIONS))
    seconds = time.perf_counter() - started
    evaluations = int(dead.update_info.evaluations[: int(done)].sum())
    return {"rate": evaluations / seconds, "device": jax.devices()[0].device_kind}


def table_of_lenses(platforms: list[str]) -> None:
    print(
        "\n| lens | n_live | num_delete | at once | device | evaluations per second |\n|---|"
        + "---:|" * 3
        + "---|---:|"
    )
    for name in ("mge", "sersic"):
        for n_live, num_delete, at_once in SIZES:
            for platform in platforms:
                if platform == "cpu" and num_delete > MOST_ON_A_CPU:
                    continue
                size = name, n_live, num_delete, at_once
                found = measured(__file__, "--one", *size, JAX_PLATFORMS=platform)
                cells = f"| {name} | {n_live} | {num_delete} | {at_once} | {found['device']} "
                print(f"{cells}| {found['rate']:,.0f} |", flush=True)


def on(platform: str, *command: str | Path, check: bool = True) -> int:
    """Run a script there, and show what it prints."""
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    return subprocess.run([sys.executable, *map(str, command)], env=environment, check=check).returncode


def from_one_to_the_other(platform: str) -> None:
    """A fit that is killed on the accelerator after its first checkpoint, and ends on the CPU."""
    folder = Path(tempfile.mkdtemp(prefix="nss_accelerator_"))
    log = folder / "log"
    for where, is_killed in ((platform, True), ("cpu", False)):
        with open(log, "a") as file:
            session = subprocess.Popen(
                [sys.executable, EXAMPLE, "--fit", folder],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "JAX_PLATFORMS": where},
            )
        while is_killed and not list(folder.rglob("nss_checkpoint.pkl")) and session.poll() is None:
            time.sleep(0.01)
        if is_killed:
            session.kill()
        session.wait()
    wanted = ("Since the checkpoint", "Resuming NSS", "NSS converged", "Error")
    print("", *(line for line in log.read_text().splitlines() if any(text in line for text in wanted)), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default="cuda")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, *numbers = given.one
        print(json.dumps(evaluations_per_second(name, *map(int, numbers))))
        return
    on(given.platform, KERNEL, "--problems", "middling", "--num-delete", "50", "--num-steps", "12", "--repeats", "1")
    table_of_lenses(list(dict.fromkeys([given.platform, "cpu"])))
    print(flush=True)
    on(given.platform, EXAMPLE, check=False)
    from_one_to_the_other(given.platform)


if __name__ == "__main__":
    main()
