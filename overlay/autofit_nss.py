"""Answers for the package ``autofit.non_linear.search.nest.nss`` with the files of this distribution.

Started in every process by ``autofit_nss.pth``, before anything else is imported: nothing expensive may be
imported here, and no file of the host is touched. ``AUTOFIT_NSS=stock`` leaves the host's own package in place.
"""

import os
import sys

PACKAGE = "autofit.non_linear.search.nest.nss"
SWITCH = "AUTOFIT_NSS"
OLDEST_HOST = "2026.10.16.1"


def source_folder() -> str:
    """The folder of the package's files: beside this module when installed, in the checkout when editable."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(here, "autofit_nss_overlay")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(here), *PACKAGE.split("."))


class Finder:
    """A meta path finder that knows one package; its submodules are found through the package's path."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != PACKAGE:
            return None
        choice = os.environ.get(SWITCH, "")
        if choice == "stock":
            return None
        if choice:
            raise ImportError(f"{SWITCH}={choice!r} is not a choice: set it to 'stock' or unset it.", name=name)

        from importlib.metadata import version
        from importlib.util import spec_from_file_location

        host = version("autofit")
        if _numbers(host) < _numbers(OLDEST_HOST):
            raise ImportError(
                f"autofit-nss needs autofit {OLDEST_HOST} or newer, and this is {host}: pip install -U autofit, "
                f"or set {SWITCH}=stock to use the af.NSS it comes with.",
                name=name,
            )

        folder = source_folder()
        return spec_from_file_location(name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def install() -> None:
    """Put the finder before the host's, once per process."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
