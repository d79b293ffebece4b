"""The kill campaign of the documentation, in short: kills inside the write, truncation and flipped bits."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[5] / "docs" / "benchmarks" / "nss" / "kill_campaign.py"


def test_nothing_is_lost():
    options = ["--settings", "1", "--kills", "0", "--steps", "2", "--terms", "0", "--flips", "4", "--stride", "2003"]
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was lost." in done.stdout
    rows = {row[1]: row[3:-1] for row in (line.split("|") for line in done.stdout.splitlines()) if len(row) > 4}
    for damage in (" truncation ", " flipped bit "):
        assert sum(map(int, rows[damage])) >= 4
