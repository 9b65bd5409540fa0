"""Rooms import downwards only: the order of the house, held against every import statement in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("*/polydiff_*") if path.is_dir())

#: lowest first; rooms of one floor do not import each other, but for those of ADJOINING
FLOORS = (
    ("errors",),
    ("conditions", "dataset", "spec", "support", "engine"),
    ("nn", "hookspecs"),
    ("domain",),
    ("file_domain",),
    ("evaluation", "training", "runtime", "calibration"),
    ("plugins",),
    ("models",),
    ("sampling",),
    ("model",),
    ("workflows",),
    ("cli", "testing"),
)
#: (room, what it may import of its own floor): settings and files serve the others
ADJOINING = {("conditions", "support"), ("dataset", "support"), ("dataset", "conditions")}
#: what users and plugin authors import; every other file has a room
HALL = {"__init__", "__main__", "errors", "domain", "file_domain", "dataset", "spec", "hookspecs", "model"}
#: rooms that know tensors, errors and how a file is written whole, and nothing else
TENSORS = ("engine", "training", "runtime", "calibration")


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, imported module) for every import statement below a folder that runs: not those for types."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unread = {id(node) for block in ast.walk(tree) if _for_types(block) for node in ast.walk(block)}
        for node in ast.walk(tree):
            if id(node) in unread:
                continue
            if isinstance(node, ast.Import):
                yield from ((str(path.relative_to(ROOT)), name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                whole = [f"{node.module}.{name.name}" for name in node.names]
                yield from (
                    (str(path.relative_to(ROOT)), name if node.module == "polydiff" else node.module)
                    for name in whole
                )


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room_of(file: str) -> str:
    """ "polydiff/cli/main.py" is of the room cli, "polydiff/model.py" is a room of its own."""
    return Path(file).parts[1].removesuffix(".py")


def test_the_order_names_every_room() -> None:
    house = {path.stem if path.is_file() else path.name for path in (ROOT / "polydiff").iterdir()}
    rooms = {room for floor in FLOORS for room in floor}
    assert house - {"__init__", "__main__", "__pycache__", "py", "templates"} - {"py.typed"} == rooms


def test_only_what_people_import_lies_in_the_hall() -> None:
    assert {path.stem for path in (ROOT / "polydiff").glob("*.py")} == HALL


def test_rooms_import_downwards_only() -> None:
    height = {room: i for i, floor in enumerate(FLOORS) for room in floor}
    for file, module in imports(ROOT / "polydiff"):
        mine, parts = room_of(file), module.split(".")
        if parts[0] != "polydiff" or len(parts) < 2 or mine not in height or parts[1] not in height:
            continue
        theirs = parts[1]
        lower = height[theirs] < height[mine] or mine == theirs or (mine, theirs) in ADJOINING
        assert lower, f"{file} imports {module}"


@pytest.mark.parametrize("room", TENSORS)
def test_what_knows_tensors_only_knows_nothing_above_it(room: str) -> None:
    common = ("errors",) if room == "engine" else ("engine", "errors", "support")
    for file, module in imports(ROOT / "polydiff" / room):
        if module.split(".")[0] == "polydiff":
            assert module.split(".")[1] in (room, *common), f"{file} imports {module}"
            assert "support" not in module or module == "polydiff.support.files", f"{file} imports {module}"


@pytest.mark.parametrize("package", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_knows_no_other_plugin(package: Path) -> None:
    for file, module in imports(package):
        root = module.split(".")[0]
        assert not root.startswith("polydiff_") or root == package.name, f"{file} imports {module}"
        assert not module.startswith("polydiff.cli"), f"{file} imports {module}"


@pytest.mark.parametrize("package", PLUGINS, ids=lambda path: path.name)
def test_no_module_of_a_plugin_imports_itself_in_a_circle(package: Path) -> None:
    """Imports within functions count, those for type checkers alone do not. An example type, say, is imported
    by its files and its pictures, and so knows neither."""
    knows = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): set(_own_imports(path))
        for path in package.rglob("*.py")
    }
    while free := {module for module, others in knows.items() if not others & knows.keys()}:
        knows = {module: others for module, others in knows.items() if module not in free}
    assert not knows, f"circles among {sorted(knows)}, or modules that import them"


def _own_imports(path: Path) -> Iterator[str]:
    """The modules that a file imports when it runs, and the names that it imports from them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
