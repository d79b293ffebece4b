"""What a checkpoint costs as a run grows, beside PyAutoFit's own af.NSS.

    python docs/benchmarks/nss/checkpoint_cost.py

Prints bytes written and seconds for one checkpoint at 100, 1,000, 5,000 and 20,000 iterations (15 parameters,
n_live=200, num_delete=50, a checkpoint every 100 iterations; ours is the median of the last five up to there), the
time to load the last one, and the memory that the dead points hold. Each column is measured in a process of its own.
"""

import ctypes
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from processes import measured

ITERATIONS = (100, 1_000, 5_000, 20_000)
INTERVAL, REPEATS = 100, 5
N_DIM, N_LIVE, NUM_DELETE, NUM_STEPS = 15, 200, 50, 30


def one_iteration():
    """A state, the dead points of one iteration as the search keeps them, and a function that makes more of them."""
    import blackjax
    import jax
    import jax.numpy as jnp
    import numpy as np

    algorithm = blackjax.nss(lambda x: 0.0 * x.sum(), lambda x: -jnp.sum(x**2), NUM_STEPS, num_delete=NUM_DELETE)
    state = jax.jit(algorithm.init)(jax.random.normal(jax.random.PRNGKey(0), (N_LIVE, N_DIM)))
    _, info = jax.jit(algorithm.step)(jax.random.PRNGKey(1), state)
    info = jax.device_get(info)
    rng = np.random.default_rng(0)

    def more():
        return jax.tree.map(lambda x: rng.random(x.shape).astype(x.dtype) if x.dtype.kind == "f" else x.copy(), info)

    return state, more


def resident_bytes() -> int:
    """Memory in use, without what the allocator keeps for later (Linux)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def measure() -> dict:
    import autofit  # noqa: F401 (before jax: it switches float64 on)
    import jax
    import jax.numpy as jnp
    from autofit.non_linear.search.nest.nss import search

    ours = os.environ["AUTOFIT_NSS"] != "stock"
    state, more = one_iteration()
    folder = Path(tempfile.mkdtemp())
    path, key = folder / "nss_checkpoint.pkl", jax.random.PRNGKey(2)
    if ours:
        from autofit.non_linear.search.nest.nss.sampling import records
        from autofit.non_linear.search.nest.nss.saving import checkpoint, history

        dead = history.History(checkpoint.history_path(path))
        make = lambda: records.with_records_only(more())  # noqa: E731
    else:
        dead = []
        make = lambda: jax.tree.map(jnp.asarray, more())  # noqa: E731 (stock keeps them on the device)

    def save() -> tuple[float, int]:
        history = path.with_suffix(".history")
        before = history.stat().st_size if history.exists() else 0
        started = time.perf_counter()
        search._save_checkpoint(path, state, dead, key, len(dead))
        seconds = time.perf_counter() - started
        return seconds, path.stat().st_size + (history.stat().st_size - before if ours else 0)

    rows, memory = [], []
    for iterations in ITERATIONS:
        saves = []
        while len(dead) < iterations:
            dead.extend(make() for _ in range(INTERVAL))
            if ours or len(dead) == iterations:
                saves.append(save())
        rows.append((statistics.median(seconds for seconds, _ in saves[-REPEATS:]), saves[-1][1]))
        memory.append(resident_bytes())
    held = (memory[-1] - memory[-2]) / ((ITERATIONS[-1] - ITERATIONS[-2]) * NUM_DELETE)

    dead.clear()
    started = time.perf_counter()
    search._load_checkpoint(path)
    return {"rows": rows, "load": time.perf_counter() - started, "held": held}


def main() -> None:
    ours, stock = (
        measured(__file__, "--measure", AUTOFIT_NSS=choice, JAX_PLATFORMS="cpu") for choice in ("", "stock")
    )
    print("| iterations | this af.NSS | bytes written | PyAutoFit's own | bytes written |")
    print("|---:|---:|---:|---:|---:|")
    for iterations, (seconds, size), (stock_seconds, stock_size) in zip(
        ITERATIONS, ours["rows"], stock["rows"], strict=True
    ):
        print(
            f"| {iterations:,} | {1e3 * seconds:.1f} ms | {size / 1e6:.2f} MB | {1e3 * stock_seconds:.0f} ms "
            f"| {stock_size / 1e6:.1f} MB |"
        )
    print(f"| load, {ITERATIONS[-1]:,} | {ours['load']:.2f} s | | {stock['load']:.2f} s | |")
    print(f"| memory per dead point | {ours['held']:.0f} bytes | | {stock['held']:.0f} bytes | |")


if __name__ == "__main__":
    if "--measure" in sys.argv:
        print(json.dumps(measure()))
    else:
        main()
