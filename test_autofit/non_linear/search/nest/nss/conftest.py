import logging
import sys
from pathlib import Path

import autofit as af
import pytest

sys.path.insert(0, str(Path(__file__).parent))
logging.getLogger("jax").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def output_path(tmp_path, monkeypatch):
    """Every fit of a test writes into the test's own folder, without the corner plots and latent samples."""
    monkeypatch.setitem(af.conf.instance["output"], "latent_after_fit", False)
    monkeypatch.setitem(af.conf.instance["visualize"]["plots_search"]["nest"], "corner_anesthetic", False)
    monkeypatch.setattr(af.conf.instance, "output_path", tmp_path / "output")
    return tmp_path / "output"
