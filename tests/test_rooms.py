"""The rooms of the package: what each may import, so that what knows arrays only never learns of models or files."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "autofit/non_linear/search/nest/nss"
# What a room may know of the others. The files beside the rooms may know all.
MAY_IMPORT = {
    "sampling": set(),
    "evidence": {"sampling"},
    "saving": {"sampling", "evidence"},
    "stopping": {"sampling", "saving"},
    "showing": {"sampling", "evidence"},
}
# What a room may not know of the world.
MAY_NOT_IMPORT = {
    "sampling": {"autofit", "matplotlib", "pathlib", "logging", "os"},
    "evidence": {"matplotlib", "pathlib", "logging", "os", "tqdm"},
    "saving": {"matplotlib", "tqdm", "signal"},
    "stopping": {"matplotlib", "tqdm", "pathlib"},
    "showing": {"blackjax", "filelock", "signal", "pickle"},
}
LONGEST_FILE, LONGEST_STORY = 300, 400


def imported(file: Path) -> tuple[set[str], set[str]]:
    """The rooms, or files beside them, and the other packages that a file of a room imports."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    inside = {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 2}
    outside = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    outside |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return inside, {name.split(".")[0] for name in outside}


def test_a_room_imports_no_more_than_it_may():
    assert {file.parent.name for file in PACKAGE.glob("*/__init__.py")} == set(MAY_IMPORT)
    for room in MAY_IMPORT:
        for file in (PACKAGE / room).glob("*.py"):
            rooms, packages = imported(file)
            assert rooms <= MAY_IMPORT[room], file
            assert not packages & MAY_NOT_IMPORT[room], file


def test_every_room_says_what_may_never_be_in_it():
    for room in MAY_IMPORT:
        assert " Never " in (PACKAGE / room / "__init__.py").read_text()


def test_no_file_is_long():
    lengths = {file.name: len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")}
    assert lengths.pop("search.py") <= LONGEST_STORY
    assert max(lengths.values()) <= LONGEST_FILE
