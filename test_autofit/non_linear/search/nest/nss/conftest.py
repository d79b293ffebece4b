import logging
import sys
from pathlib import Path

import autofit as af
import pytest

sys.path.insert(0, str(Path(__file__).parent))
logging.getLogger("jax").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def output_path(tmp_path, monkeypatch):
    """Every fit of a test writes into the test's own folder."""
    monkeypatch.setattr(af.conf.instance, "output_path", tmp_path / "output")
    return tmp_path / "output"
