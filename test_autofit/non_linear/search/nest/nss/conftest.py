import logging
import os
import signal
import sys
from pathlib import Path

# The fits of the tests are small and many, and most of their time is XLA's compilations. So it optimises nothing and
# emits code in its older, faster way, and what one fit compiled, the next finds. It holds if JAX is not imported yet.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import autofit as af
import pytest

sys.path.insert(0, str(Path(__file__).parent))
logging.getLogger("jax").setLevel(logging.ERROR)


def pytest_pycollect_makemodule() -> None:
    """Without what af.NSS runs on, this folder is skipped as a whole."""
    for package in ("jax", "blackjax", "filelock", "tqdm"):
        pytest.importorskip(package)


@pytest.fixture
def run_pictures():
    """For tests that look at the picture of the run, which takes a quarter of a small fit."""


@pytest.fixture(autouse=True)
def output_path(tmp_path, monkeypatch, request):
    """
    Every fit of a test writes into the test's own folder, without the pictures and latent samples; and without the
    checkpoints of a busy machine, on which the newest is old.
    """
    if "run_pictures" not in request.fixturenames:
        monkeypatch.setattr("autofit.non_linear.search.nest.nss.fit.draw_run", lambda *_: None)
    monkeypatch.setattr("autofit.non_linear.search.nest.nss.saving.resume.MAX_AGE_SECONDS", float("inf"))
    monkeypatch.setitem(af.conf.instance["output"], "latent_after_fit", False)
    monkeypatch.setitem(af.conf.instance["visualize"]["plots_search"]["nest"], "corner_anesthetic", False)
    monkeypatch.setattr(af.conf.instance, "output_path", tmp_path / "output")
    return tmp_path / "output"


@pytest.fixture
def optimised():
    """XLA optimises as outside of the tests: two programs of the same arithmetic then round alike."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def handlers():
    """Python's own handlers for the test; those of the test runner, which may ignore SIGINT, are put back."""
    from autofit.non_linear.search.nest.nss.stopping.signals import SIGNALS

    runner = {number: signal.getsignal(number) for number in SIGNALS}
    for number in runner:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield {number: signal.getsignal(number) for number in runner}
    for number, handler in runner.items():
        signal.signal(number, handler)
