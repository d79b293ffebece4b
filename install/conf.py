"""Sphinx: ``sphinx-build -W -c install docs _build``. It lies here since ``docs/`` is merged into the host's."""

import importlib.metadata

project = "autofit-nss"
release = importlib.metadata.version("autofit-nss")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "nss"
html_theme = "furo"
html_title = "af.NSS"
exclude_patterns = ["benchmarks", "searches_minimal"]
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True
autodoc_typehints = "none"
