"""Sphinx: ``sphinx-build -W -c tools docs/searches/nss _build``. It is not merged into the host's docs."""

import importlib.metadata

project = "autofit-nss"
release = importlib.metadata.version("autofit-nss")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "nss"
html_theme = "furo"
html_title = "af.NSS"
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True
autodoc_typehints = "none"
