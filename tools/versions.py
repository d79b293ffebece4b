"""Which versions of PyAutoFit, JAX and Python the patch works with: its tests of the host's contract, in each.

    python tools/versions.py [--autofit 2026.10.16.1 2026.10.26.1] [--jax 0.9.0 0.11.2] [--python python3.13]

Each combination gets an environment of its own. Prints a table.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TESTS = [f"test_autofit/non_linear/search/nest/nss/test_{name}.py" for name in ("search", "host", "exactness")]


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip("= ") if text.strip() else ""


def outcome(autofit: str, jax: str, python: str) -> tuple[str, ...]:
    """The versions of JAX, Python and blackjax, and what the tests say; the newest JAX if none is named."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run([python, "-m", "venv", folder], check=True)
    ours = folder / "bin" / "python"
    pip = [ours, "-m", "pip", "install", "--quiet"]
    needed = [f"autofit=={autofit}", f"jax=={jax}" if jax else "jax", REPOSITORY, "pytest", "pytest-xdist"]
    installed = subprocess.run([*pip, *needed], capture_output=True, text=True, check=False)
    if installed.returncode:
        return jax, python, "", f"cannot be installed: {last_line(installed.stderr)}"
    show = "import platform, blackjax, jax; print(jax.__version__, platform.python_version(), blackjax.__version__)"
    versions = last_line(subprocess.run([ours, "-c", show], capture_output=True, text=True, check=True).stdout)
    tests = [ours, "-m", "pytest", "-q", "--dist=load", "-m", "slow or not slow", *TESTS]
    done = subprocess.run(tests, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return *versions.split(), re.sub(r"(, \d+ warnings?)? in .*", "", last_line(done.stdout or done.stderr))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autofit", nargs="+", default=["2026.10.26.1"])
    parser.add_argument("--jax", nargs="+", default=[""])
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    given = parser.parse_args()
    print("| autofit | jax | Python | blackjax | tests |\n|---|---|---|---|---|")
    for autofit, jax, python in itertools.product(given.autofit, given.jax, given.python):
        print(f"| {autofit} | {' | '.join(outcome(autofit, jax, python))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
