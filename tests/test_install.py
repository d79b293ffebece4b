"""Each way to use the patch, in a real environment: installed, editable, copied, switched off, removed."""

import base64
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path("autofit/non_linear/search/nest/nss")

PROBE = """
import json, multiprocessing, sys

def where_from():
    import autofit as af
    early = sorted({"jax", "blackjax", "autofit.non_linear.search.nest.nss"} & set(sys.modules))
    return sys.modules[af.NSS.__module__].__file__, early

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("\\n" + json.dumps([where_from(), pool.apply(where_from)]))
"""

CONTRACT = """
import inspect, json, sys
import autofit as af
import jax.numpy as jnp
from autofit.non_linear.search.capabilities import capabilities_from

class Analysis(af.Analysis):
    def log_likelihood_function(self, instance):
        return -(instance.x ** 2)

af.conf.instance.output_path = sys.argv[1]
af.conf.instance["output"]["latent_after_fit"] = False
af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
search = af.NSS(name="contract", n_live=30, num_delete=10, num_mcmc_steps=1)
result = search.fit(model=af.Collection(x=af.UniformPrior(-1.0, 1.0)), analysis=Analysis(use_jax=True))
parameters = inspect.signature(af.NSS.__init__).parameters.values()
print("\\n" + json.dumps({
    "arguments": [[p.name, str(p.default), str(p.kind)] for p in parameters],
    "identifier fields": af.NSS.__identifier_fields__,
    "capabilities": capabilities_from(af.NSS),
    "output folder": str(search.paths.output_path),
    "samples_info": sorted(result.samples.samples_info),
    "class path": result.samples.samples_info["class_path"],
    "points": len(result.samples),
}))
"""


INTERRUPTED = """
import sys
import autofit as af
import jax.numpy as jnp

class Visualizer(af.Visualizer):
    @staticmethod
    def visualize(analysis, paths, instance, during_analysis):
        if sys.argv[2:] == ["leave"]:
            sys.exit(5)

class Analysis(af.Analysis):
    Visualizer = Visualizer

    def log_likelihood_function(self, instance):
        return -50.0 * instance.x ** 2

af.conf.instance.output_path = sys.argv[1]
af.conf.instance["output"]["latent_after_fit"] = False
af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
settings = dict(n_live=60, num_mcmc_steps=5, num_delete=10, checkpoint_interval=8, iterations_per_quick_update=10)
search = af.NSS(name="n", **settings)
samples = search.fit(model=af.Collection(x=af.UniformPrior(-1.0, 1.0)), analysis=Analysis(use_jax=True)).samples
print("\\n", samples.log_evidence, samples.log_evidence_error)
"""


class Environment:
    """A virtual environment with a copy of the installed host; everything else comes from this environment."""

    def __init__(self, folder: Path):
        venv.create(folder, with_pip=True)
        self.folder = folder
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        self.site_packages = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        host = importlib.metadata.distribution("autofit")
        for file in host.files:
            if ".." not in file.parts:
                target = self.site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)
        (self.site_packages / "zz_everything_else.pth").write_text(str(host.locate_file("")))

    def run(self, *arguments, cwd=None, status=0, **variables) -> str:
        done = subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def pip(self, *arguments):
        self.run("-m", "pip", *arguments, "--quiet")

    def where_from(self, *arguments, **variables) -> set:
        """The file ``af.NSS`` comes from in a process and in a child spawned by it."""
        (self.folder / "probe.py").write_text(PROBE)
        found = json.loads(self.run(*arguments, **variables).splitlines()[-1])
        assert all(early == [] for _, early in found), "imported before af.NSS was touched"
        return {Path(file) for file, _ in found}

    def damaged_host_files(self) -> list:
        """Files whose hash is not that of the host's RECORD."""
        damaged = []
        for file in importlib.metadata.distribution("autofit").files:
            if file.hash and ".." not in file.parts:
                digest = hashlib.new(file.hash.mode, (self.site_packages / file).read_bytes()).digest()
                if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                    damaged.append(str(file))
        return damaged

    @property
    def stock_file(self) -> Path:
        return self.site_packages / PACKAGE / "search.py"


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("installed"))
    environment.pip("install", "--no-deps", str(REPOSITORY))
    return environment


@pytest.mark.slow
def test_installed_it_is_used_in_every_process_and_touches_no_file_of_the_host(installed):
    ours = installed.site_packages / "autofit_nss_overlay" / "search.py"
    assert installed.where_from("probe.py") == {ours}
    assert installed.where_from("-m", "probe") == {ours}
    assert ours.read_bytes() == (REPOSITORY / PACKAGE / "search.py").read_bytes()
    assert installed.damaged_host_files() == []


@pytest.mark.slow
def test_it_can_be_switched_off_for_one_process(installed):
    assert installed.where_from("probe.py", AUTOFIT_NSS="stock") == {installed.stock_file}


def test_an_unknown_choice_is_an_error_when_the_search_is_used(installed):
    assert installed.run("-c", "import autofit", AUTOFIT_NSS="sotck") == ""
    with pytest.raises(AssertionError, match="AUTOFIT_NSS='sotck' is not a choice: set it to 'stock' or unset it"):
        installed.run("-c", "import autofit; autofit.NSS", AUTOFIT_NSS="sotck")


def test_a_host_that_is_too_old_is_named_with_what_to_do(installed):
    old = "import importlib.metadata as m; m.version = lambda name: '2026.9.27.2'; import autofit; autofit.NSS"
    with pytest.raises(AssertionError, match=r"needs autofit 2026\.10\.16\.1 or newer, and this is 2026\.9\.27\.2"):
        installed.run("-c", old)
    installed.run("-c", old, AUTOFIT_NSS="stock")


def test_the_host_s_contract_is_kept(installed, tmp_path):
    def contract(**variables):
        (installed.folder / "contract.py").write_text(CONTRACT)
        return json.loads(installed.run("contract.py", str(tmp_path / "output"), **variables).splitlines()[-1])

    ours = contract()
    shutil.rmtree(tmp_path / "output")
    theirs = contract(AUTOFIT_NSS="stock")
    our_info, their_info = set(ours.pop("samples_info")), set(theirs.pop("samples_info"))
    assert their_info <= our_info
    assert our_info - their_info == {
        "converged",
        "log_evidence_remaining",
        "insertion_rank_p_value",
        "jump",
        "log_evidence_excess",
        "log_evidence_scatter",
        "log_evidence_simulated_error",
        "moves",
        "unmoved_slices",
        "log_evidence_nested",
        "log_evidence_nested_error",
        "log_evidence_importance",
        "log_evidence_importance_error",
        "log_evidence_bridge",
        "log_evidence_bridge_error",
        "log_evidence_distance",
        "importance_attempts",
        "importance_draws",
        "importance_n_eff",
        "importance_unusable",
    }
    *our_arguments, rest = ours.pop("arguments")
    *their_arguments, their_rest = theirs.pop("arguments")
    assert our_arguments[: len(their_arguments)] == [
        [name, "None" if name == "num_mcmc_steps" else default, kind] for name, default, kind in their_arguments
    ]
    assert [name for name, *_ in our_arguments[len(their_arguments) :]] == [
        "stalled_after",
        "num_importance_draws",
        "n_eff",
        "start_from",
        "moves",
    ]
    assert rest == their_rest
    assert ours == theirs


@pytest.mark.slow
def test_a_fit_begun_with_the_host_s_own_class_goes_on_with_ours(installed, tmp_path):
    (installed.folder / "interrupted.py").write_text(INTERRUPTED)
    output = str(tmp_path / "output")
    installed.run("interrupted.py", output, "leave", status=5, AUTOFIT_NSS="stock")
    log = installed.run("interrupted.py", output)
    assert "Resuming NSS from iteration 8" in log
    log_evidence, error = map(float, log.splitlines()[-1].split())
    assert abs(log_evidence - math.log(math.sqrt(math.pi / 50.0) / 2.0)) < 4.0 * error


@pytest.mark.parametrize(
    "missing",
    [
        "sys.modules['blackjax'] = None",
        "sys.modules['jax'] = None",
        "import types; sys.modules['blackjax'] = types.ModuleType('blackjax')",  # an older one, without ns
    ],
)
def test_without_jax_or_blackjax_the_error_says_what_to_install(installed, missing):
    with pytest.raises(AssertionError, match=r"ImportError: .*pip install 'blackjax>=1.7.1' filelock"):
        installed.run("-c", f"import sys; {missing}; import autofit as af; af.NSS()")


@pytest.mark.slow
def test_editable_uninstalled_and_copied_over_the_host(tmp_path):
    """One after the other in one environment."""
    environment = Environment(tmp_path / "environment")
    before = {path.relative_to(environment.site_packages) for path in environment.site_packages.iterdir()}
    environment.pip("install", "--no-deps", "--editable", str(REPOSITORY))
    assert environment.where_from("probe.py") == {REPOSITORY / PACKAGE / "search.py"}
    environment.pip("uninstall", "--yes", "autofit-nss")
    after = {path.relative_to(environment.site_packages) for path in environment.site_packages.iterdir()}
    assert after == before
    assert environment.damaged_host_files() == []

    for folder in ("autofit", "test_autofit", "docs"):
        shutil.copytree(REPOSITORY / folder, environment.site_packages / folder, dirs_exist_ok=True)
    assert environment.where_from("probe.py") == {environment.stock_file}
    assert environment.stock_file.read_bytes() == (REPOSITORY / PACKAGE / "search.py").read_bytes()
    tests = environment.site_packages / "test_autofit" / PACKAGE.relative_to("autofit")
    passed = environment.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_posterior.py", "-k", "blackjax", cwd=tests
    )
    assert " passed" in passed
