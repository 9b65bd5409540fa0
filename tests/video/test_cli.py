"""The commands, on the shipped model: tasks, and one clear line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polydiff.cli.main import main
from polydiff_video.files import read

from .conftest import DATA

WALK = str(DATA / "walk_left_4032.gif")
QUICK = ["--steps", "2", "--seed", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_prediction_keeps_what_is_given(tmp_path):
    assert main(["sample", "video", "--from", WALK, "--keep", "0:4", *QUICK, "-o", "a.npz"]) == 0
    made, source = read("a.npz"), read(WALK)
    assert np.array_equal(made.frames[:4], source.frames[:4])
    assert (len(made), made.fps) == (8, 8)
    assert json.loads(Path("a.npz.json").read_text())["source"]["keep"] == "0:4"
    assert main(["replay", "a.npz.json"]) == 0


def test_a_folder_of_frames_goes_in_and_comes_out(tmp_path):
    words = ["--action", "walk", "--direction", "left", "--format", "frames"]
    assert main(["sample", "video", *words, *QUICK, "-o", "made"]) == 0
    assert len(list(Path("made/0000.frames").iterdir())) == 8
    words = ["--from", "made/0000.frames", "--keep", "0,7"]
    assert main(["sample", "video", *words, *QUICK, "-o", "b.webp"]) == 0
    assert np.array_equal(read("b.webp").frames[[0, 7]], read("made/0000.frames").frames[[0, 7]])
    assert main(["replay", "made/0000.frames.json"]) == 0


@pytest.mark.slow
def test_one_clip_is_enough_to_train(capsys):
    words = ["--fit-one", WALK, "-o", "run", "--steps", "2", "--batch-size", "2", "--threads", "1"]
    small = [
        "--set",
        "config.network.width=16",
        "--set",
        "config.network.depth=1",
        "--set",
        "pictures.every=0",
    ]
    assert main(["train", "video", *words, *small]) == 0
    assert main(["sample", "run", "--frames", "10", *QUICK, "-o", "c.gif"]) == 0
    assert len(read("c.gif")) == 10


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sample", "video", "--action", "wlak"], "Did you mean 'walk'?"),
        (["sample", "video", "--frames", "0"], "greater than or equal to 1"),
        (["sample", "video", "--frames", "100000"], "less than or equal to 1024"),
        (["sample", "video", "--from", WALK, "--keep", "0:40"], "passes the end of the clip: 8 frames"),
        (["sample", "video", "--from", WALK, "--keep", "all"], "nothing is left to be made"),
        (["sample", "video", "--from", "none.gif", "--keep", "0:4"], "no such file"),
        (["sample", "video", "--from", "bad.mp4", "--keep", "0:4"], "cannot be read as a film"),
        (["sample", "video", "--from", "empty", "--keep", "0:4"], "no pictures"),
        (["train", "video", "-o", "run"], "either --data FOLDER or --fit-one FILE"),
        (["train", "video", "--data", "bad.mp4", "-o", "run"], "no usable clip"),
        (["train", "audio", "--fit-one", WALK, "-o", "run"], "audio has no recipe 'fit-one'"),
    ],
)
def test_bad_input_is_one_line(words, line, capsys):
    Path("bad.mp4").write_bytes(b"no film" * 100)
    Path("empty").mkdir()
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert len(error.splitlines()) == 1
    assert not Path("run").exists()
    assert not Path("samples").exists()


def test_a_single_clip_is_measured_without_what_takes_two(capsys):
    words = ["--action", "walk", "--direction", "left", "--format", "npz"]
    assert main(["sample", "video", *words, *QUICK, "-o", "made"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "video", "made", "--reference", str(DATA), "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert "novelty" in out
    assert "frechet " not in out
    assert err.startswith("Left out, since a single example does not tell: frechet")
