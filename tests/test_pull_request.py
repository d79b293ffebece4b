"""The parts in which the pull request can be taken: every file is in one, and needs none of a later one."""

import ast
import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "autofit/non_linear/search/nest/nss"


def parts() -> dict[str, int]:
    spec = importlib.util.spec_from_file_location("merge", REPOSITORY / "tools" / "merge.py")
    merge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(merge)
    return merge.parts()


def imported(file: Path) -> set[str]:
    """The files of the package that a file of it imports, those for type checkers among them."""
    nodes = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom) and node.level
    ]
    return {f"{node.module}.py" for node in nodes if node.module} | {
        f"{name.name}.py" for node in nodes if not node.module for name in node.names
    }


def test_every_file_is_in_a_part():
    found = {name for name in parts() if not name.startswith("test_")}
    assert found == {file.name for file in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_no_file_needs_one_of_a_later_part():
    part_of = parts()
    later = {
        (file.name, name)
        for file in PACKAGE.glob("*.py")
        if file.name in part_of
        for name in imported(file)
        if part_of[name] > part_of[file.name]
    }
    assert not later


def test_nothing_below_imports_what_is_above():
    """No circles, for which the parts are too coarse."""
    imports = {file.name: imported(file) for file in PACKAGE.glob("*.py")}
    while imports:
        ground = {name for name, needed in imports.items() if not needed & set(imports)}
        assert ground, f"these import each other: {sorted(imports)}"
        imports = {name: needed for name, needed in imports.items() if name not in ground}
