"""Reads a Markdown page as the reader does: files to write, Python to run, commands to type.

    ```python                    runs, in one namespace a page
    ```python title="clip.py"    a file of that name, written where the page's commands run (any language)
    ```console                   lines after "$ " run; the lines below one are what it prints,
                                 with … for anything, and may leave lines out
    ```text, ```toml, ...        shown, not run

A comment above a block makes it cheaper under test, in sight of whoever edits the page:

    <!-- in tests: --steps 3000 => --steps 4 -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)?(?: +(?P<rest>.*?))?\s*$")
MARKER = re.compile(r"^\s*<!-- in tests: (?P<old>.+?) => (?P<new>.*?) -->\s*$")


@dataclass
class Block:
    """A fenced block: `text` as it runs, replacements made; `line` is where it begins."""

    language: str
    title: str | None
    line: int
    text: str = ""
    replace: list[tuple[str, str]] = field(default_factory=list)

    def close(self) -> Block:
        for old, new in self.replace:
            if old not in self.text:
                raise ValueError(f"line {self.line}: the block below has no {old!r} to replace")
            self.text = self.text.replace(old, new)
        return self


@dataclass(frozen=True)
class Command:
    """One line to type and the lines that the page says it prints."""

    line: str
    output: tuple[str, ...]


def pages() -> list[Path]:
    """Every page that a reader is given."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    plugins = sorted((ROOT / "plugins").glob("*/README.md"))
    return [page for page in top if page.exists()] + plugins + sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    >>> [b.language for b in blocks(ROOT / "README.md")][:1]
    ['console']
    """
    found: list[Block] = []
    open_block: Block | None = None
    indent, replace = 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if open_block is None and (marker := MARKER.match(line)):
            replace.append((marker["old"], marker["new"]))
        elif open_block is None and fence:
            title = re.search(r'title="([^"]+)"', fence["rest"] or "")
            indent = len(fence["indent"])
            open_block = Block(fence["language"] or "", title and title[1], number, replace=replace)
            replace = []
        elif open_block is not None and fence and not fence["language"]:
            found.append(open_block.close())
            open_block = None
        elif open_block is not None:
            open_block.text += line[indent:] + "\n"
        elif line.strip() and replace:
            raise ValueError(f"{page.name}, line {number}: a marker for tests must stand right above a block")
    if open_block is not None:
        raise ValueError(f"{page.name}, line {open_block.line}: this block is never closed")
    return found


def commands(block: Block) -> list[Command]:
    r"""The commands of a console block; a line that ends in \ goes on in the next."""
    found: list[Command] = []
    lines = iter(block.text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            while line.endswith("\\"):
                line = line[:-1] + next(lines).lstrip()
            found.append(Command(line[2:], ()))
        elif line.strip() and found:
            found[-1] = Command(found[-1].line, (*found[-1].output, line))
        elif line.strip():
            raise ValueError(f"line {block.line}: a console block begins with '$ '")
    return found


def missing_line(expected: tuple[str, ...], printed: str) -> str | None:
    """The first expected line that is not printed, in order; None where all are. `…` stands for anything.

    >>> missing_line(("a … c", "d"), "a b c\\nx\\nd\\n")
    >>> missing_line(("a", "e"), "a\\n")
    'e'
    """
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in expected:
        pattern = ".*".join(re.escape(part.strip()) for part in " ".join(line.split()).split("…"))
        if line.strip() != "…" and not any(re.fullmatch(pattern, text) for text in lines):
            return line
    return None
