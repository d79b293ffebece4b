"""The documentation: its Python runs, its commands name files that are there, its pages build without a warning."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import autofit as af
import jax
import jax.numpy as jnp
import nbformat
import pytest
from nbclient import NotebookClient

REPOSITORY = Path(__file__).parents[1]
MANUAL = REPOSITORY / "docs" / "searches" / "nss"
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(MANUAL.glob("*.md"))]


class Analysis(af.Analysis):
    def log_likelihood_function(self, instance):
        return -50.0 * (jnp.square(instance.x) + jnp.square(instance.y))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page, tmp_path, monkeypatch):
    """Block after block of a page, in one namespace, which knows a small ``model`` and its ``analysis``."""
    monkeypatch.setitem(af.conf.instance["visualize"]["plots_search"]["nest"], "corner_anesthetic", False)
    monkeypatch.setattr(af.conf.instance, "output_path", tmp_path)
    monkeypatch.setattr(jax.distributed, "initialize", lambda: None)  # which test_clusters.py calls for real
    model = af.Collection(x=af.UniformPrior(-1.0, 1.0), y=af.UniformPrior(-1.0, 1.0))
    names = {"af": af, "model": model, "analysis": Analysis(use_jax=True)}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    notebook = nbformat.read(MANUAL / "tutorial.ipynb", 4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    told = str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert "status -9" in told
    assert "Resuming NSS from iteration" in told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_name_files_that_are_there(page):
    text = page.read_text()
    commands = re.findall(r"python ((?:docs|tools)/\S+?\.py)", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert all((REPOSITORY / name).exists() for name in commands)
    assert all((page.parent / link).exists() for link in links)


@pytest.mark.parametrize("script", sorted((REPOSITORY / "docs").rglob("*.py")), ids=lambda script: script.name)
def test_scripts_import_what_is_there(script):
    nodes = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in nodes:
        if (node.module or "").startswith("autofit.non_linear.search.nest.nss"):
            exec(compile(ast.unparse(node), script.name, "exec"), {})


def test_the_config_is_what_the_host_reads(tmp_path, monkeypatch):
    (block,) = blocks(MANUAL / "monitoring.md", "yaml")
    monkeypatch.setattr(af.conf.instance, "configs", af.conf.instance.configs)
    (tmp_path / "general.yaml").write_text(block)
    af.conf.instance.push(tmp_path)
    search = af.NSS()
    assert search.quick_update_background is True
    assert search.live_visual_update is True


def test_no_other_block_is_to_be_run():
    """Commands of the README are run by ``.ci/run``, scripts for clusters by ``test_clusters.py``."""
    found = {(page.name, name) for page in PAGES for name in re.findall(r"^```(\w+)", page.read_text(), re.MULTILINE)}
    rest = {(page, name) for page, name in found if name not in ("python", "text")}
    assert rest == {("README.md", "sh"), ("clusters.md", "sh"), ("monitoring.md", "yaml")}


def test_pages_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", "tools", MANUAL, tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sampling.kernel.NestedSliceSampler" in (tmp_path / "api.html").read_text()
