"""Imports point one way: cli, model, domain and registry, engine. No plugin knows another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("*/polydiff_*") if path.is_dir())


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, imported module) for every import statement below a folder."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((str(path.relative_to(ROOT)), name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield str(path.relative_to(ROOT)), node.module


@pytest.mark.parametrize("room", ["engine", "training", "runtime", "calibration"])
def test_what_knows_tensors_only_knows_nothing_above_it(room: str) -> None:
    """The engine is the ground floor; the three rooms upon it know it and not each other. What writes files
    whole knows nothing but errors, and serves the rooms."""
    common = ("errors",) if room == "engine" else ("engine", "errors", "files")
    for file, module in imports(ROOT / "polydiff" / room):
        if module.split(".")[0] == "polydiff":
            assert module.split(".")[1] in (room, *common), f"{file} imports {module}"


def test_blocks_for_networks_know_nothing_above_them() -> None:
    for file, module in imports(ROOT / "polydiff" / "nn"):
        if module.split(".")[0] == "polydiff":
            assert module.startswith(("polydiff.nn", "polydiff.engine")), f"{file} imports {module}"


def test_only_the_command_line_imports_the_command_line() -> None:
    for file, module in imports(ROOT / "polydiff"):
        if module.startswith("polydiff.cli"):
            assert file.startswith("polydiff/cli") or file == "polydiff/__main__.py", (
                f"{file} imports {module}"
            )


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
