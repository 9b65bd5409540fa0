"""`make demo` asks for what the shipped models know. All of it takes a minute, which tests leave out."""

from __future__ import annotations

import runpy
from pathlib import Path

import polydiff

DEMO = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "demo.py"))


def test_every_clip_of_the_demo_can_be_made() -> None:
    names = set()
    for part in DEMO["parts"]():
        plan = polydiff.load(part.preset).plan(seed=0, conditions=part.conditions, **part.options)
        assert len(plan) == len(part.names)
        names |= {f"{part.preset}/{name}" for name in part.names}
    assert len(names) == 20 + 11 + 8 + 9 + 2 + 6 + 1 + 5


def test_one_clip_and_its_table(tmp_path: Path, capsys, monkeypatch) -> None:
    part = DEMO["Part"]("audio/digits", ["7-seven-theo"], {"digit": ["seven"], "speaker": "theo"})
    monkeypatch.setitem(DEMO["main"].__globals__, "parts", lambda: [part])
    DEMO["main"](tmp_path)
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        "7-seven-theo.wav",
        "7-seven-theo.wav.json",
        "audio.png",
    }
    assert "digits/7-seven-theo.wav" in capsys.readouterr().out
