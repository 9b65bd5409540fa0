"""Every block of every page does what it says, and every link between pages leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Command, blocks, commands, missing_line, pages

PAGES = pages()

# What a page does not say itself is made small, so that all pages run in a minute or two.
CHEAP = {
    "OMP_NUM_THREADS": "1",
    "POLYDIFF_SAMPLING__STEPS": "4",
    "POLYDIFF_TRAINING__STEPS": "2",
    "POLYDIFF_PICTURES__EVERY": "0",
    "HF_HUB_OFFLINE": "1",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.slow
def test_page_runs(page: Path, tmp_path: Path) -> None:
    if not any(block.language in ("python", "console") or block.title for block in blocks(page)):
        pytest.skip("nothing to run on this page")
    command = [sys.executable, "-m", "tests.docs.run_page", str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **CHEAP}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ +(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{target}: no such heading"


def slug(heading: str) -> str:
    words = re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()).strip()
    return re.sub(r"[\s]+", "-", words)


def test_a_console_block_is_commands_and_what_they_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- in tests: 9 => 1 -->\n```console\n$ head -n 9 \\\n    x\none\n$ ls\n```\n")
    assert commands(blocks(page)[0]) == [Command("head -n 1 x", ("one",)), Command("ls", ())]


def test_a_marker_that_no_longer_fits_its_block_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- in tests: 9 => 1 -->\n```console\n$ ls\n```\n")
    with pytest.raises(ValueError, match="has no '9'"):
        blocks(page)


def test_a_page_that_lies_about_output_fails() -> None:
    assert missing_line(("12 files",), "11 files\n") == "12 files"
    assert missing_line(("… files",), "11 files\n") is None
