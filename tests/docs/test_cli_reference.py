"""docs/cli.md says what the commands say of themselves."""

import runpy

from tests.docs.pages import ROOT


def test_the_reference_is_up_to_date() -> None:
    module = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))
    written = module["PAGE"].read_text(encoding="utf-8")
    assert written == module["page"](), "run python scripts/cli_reference.py and commit docs/cli.md"
