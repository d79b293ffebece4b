"""The pull request, tried: the patch copied over PyAutoFit as PyPI has it, and its tests run there.

    python tools/merge.py [--autofit 2026.10.26.1]

Our package is not installed there. Prints which files of the host are replaced, which are new and which have no use
any more, then the tests.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("autofit", "test_autofit", "docs")
PACKAGE = "autofit/non_linear/search/nest/nss"
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "ipykernel", "nbclient")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autofit", default="2026.10.26.1")
    autofit = parser.parse_args().autofit

    folder = Path(tempfile.mkdtemp())
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    ours = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"autofit=={autofit}", *ours, *TOOLS], check=True)
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    host = Path(subprocess.run([python, "-c", show], capture_output=True, text=True, check=True).stdout.strip())

    tracked = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    tests = f"test_{PACKAGE}"
    for name in tracked.stdout.splitlines():
        source, target = REPOSITORY / name, host / name
        if target.exists() and not filecmp.cmp(source, target, shallow=False):
            print(f"replaced  {name}")
        elif not target.exists() and name.startswith("autofit"):
            print(f"new       {name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for file in sorted((host / PACKAGE).glob("*.py")):
        if not (REPOSITORY / PACKAGE / file.name).exists():
            print(f"unused    {PACKAGE}/{file.name}")
    where = "import autofit as af, sys; print(sys.modules[af.NSS.__module__].__file__)"
    found = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    if Path(found) != host / PACKAGE / "search.py":
        sys.exit(f"af.NSS is not the merged one: {found}")
    print(flush=True)
    run = [python, "-m", "pytest", "-q", "--import-mode=importlib", "-n2", "--dist=loadfile"]
    return subprocess.run([*run, tests], cwd=host, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
