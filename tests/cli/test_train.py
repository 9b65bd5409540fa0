"""`polydiff train`: what it says and writes, how it stops, and which resumes it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from polydiff.cli.main import main
from polydiff.model import load
from polydiff.training.checkpoints import read_checkpoint
from tests import series

SMALL = ["--set", "config.width=16", "--set", "config.depth=1", "--batch-size", "4", "--threads", "1"]
OFTEN = ["--set", "training.log_every=2", "--set", "training.checkpoint_every=2"]
NO_PICTURES = ["--set", "pictures.every=0"]
PICTURES = ["--set", "pictures.every=3", "--set", "pictures.n=2", "--set", "pictures.steps=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return series.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series.register()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str], data: Path) -> Any:
    """Exit code, stdout and stderr of `polydiff train mydata`."""

    def call(*words: Any, data: Path = data) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["train", "mydata", "--data", str(data), *SMALL, *OFTEN, *map(str, words)])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def log(folder: str | Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]


def same(a: str | Path, b: str | Path) -> bool:
    """Whether two runs have the same weights, averages and moments, bit for bit."""
    first, second = read_checkpoint(Path(a)).tensors, read_checkpoint(Path(b)).tensors
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- what it says and writes --------------------------------------------------------------------------------


def test_a_run_reports_logs_draws_and_leaves_a_model(train: Any, capsys: Any) -> None:
    code, out, err = train("-o", "run", "--steps", 6, *PICTURES)
    assert code == 0, err
    assert out.startswith("Model: run")
    lines = err.splitlines()
    assert lines[0] == "12 examples"  # the report on the data comes before the first step
    steps = [line.startswith("step ") for line in lines]
    assert steps == sorted(steps)
    assert "examples/s" in lines[-1]
    assert lines[-1].endswith("0 s left")
    assert {"model.json", "weights.safetensors", "checkpoint.safetensors"} <= set(os.listdir("run"))
    assert sorted(os.listdir("run/pictures")) == ["0000003.png", "0000006.png"]
    entries = log("run")
    assert [entry["step"] for entry in entries] == [2, 4, 6]
    assert set(entries[0]) == {"step", "seconds", "loss", "gradient_norm", "rate", "examples_per_second"}
    model = load("run")
    assert model.manifest.training["step"] == 6
    assert model.manifest.metrics["loss"] == entries[-1]["loss"]
    assert len(model.sample(2, seed=0, steps=2)) == 2


def test_tensorboard_has_figures_and_pictures(train: Any) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert train("-o", "run", "--steps", 4, *PICTURES)[0] == 0
    board = accumulator.EventAccumulator("run/tensorboard")
    board.Reload()
    assert {"loss", "gradient_norm", "rate", "examples_per_second"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss")] == [2, 4]
    assert board.Scalars("loss")[-1].value == pytest.approx(log("run")[-1]["loss"], rel=1e-5)
    assert [event.step for event in board.Images("samples")] == [3, 4]


def test_without_tensorboard_a_note_says_so(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = train("-o", "run", "--steps", 2, *NO_PICTURES)
    assert code == 0, err
    assert "TensorBoard is not installed (pip install tensorboard); log.jsonl has the same." in err
    assert [entry["step"] for entry in log("run")] == [2]
    assert not Path("run/tensorboard").exists()


def test_unreadable_files_are_named_before_the_first_step(train: Any, tmp_path: Path) -> None:
    series.write_data(tmp_path / "years")
    (tmp_path / "years" / "warm" / "notes.csv").write_text("no numbers\nhere\n")
    (tmp_path / "years" / "warm" / "empty.csv").touch()
    code, _, err = train("-o", "run", "--steps", 2, *NO_PICTURES, data=tmp_path / "years")
    assert code == 0, err
    lines = err.splitlines()
    assert lines[0] == "12 examples"
    first = next(i for i, line in enumerate(lines) if line.startswith("step "))
    for name in ("notes.csv", "empty.csv"):
        assert any(line.startswith("skipped") and name in line for line in lines[:first])


def test_a_picture_that_fails_costs_a_line_and_not_the_run(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> bytes:
        raise ZeroDivisionError("no axis")

    monkeypatch.setattr("polydiff.workflows.train._picture", broken)
    code, _, err = train("-o", "run", "--steps", 3, *PICTURES)
    assert code == 0, err
    assert "No picture of step 3: ZeroDivisionError: no axis" in err


# --- resuming -----------------------------------------------------------------------------------------------


def start(folder: Path, data: Path) -> subprocess.Popen[str]:
    """A run without end in a process of its own, after its first line in the log."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(series.PACKAGE)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "polydiff",
        "-p",
        "polydiff_mydata",
        "train",
        "mydata",
        "--data",
        str(data),
    ]
    endless = ["--steps", "1000000", "--set", "training.decay=0.0", "-o", str(folder)]
    running = subprocess.Popen(
        [*command, *SMALL, *OFTEN, *NO_PICTURES, *endless],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 500
    while running.poll() is None and time.monotonic() < deadline:
        if (folder / "log.jsonl").exists() and log(folder):
            break
        time.sleep(0.05)
    return running


def interrupted(running: subprocess.Popen[str]) -> tuple[str, int]:
    """Press Ctrl-C; the last line that was printed, and the step after which it stopped."""
    running.send_signal(signal.SIGINT)
    try:
        out, err = running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    last = err.splitlines()[-1]
    assert sum("Interrupted" in line for line in err.splitlines()) == 1
    assert last.startswith("Interrupted after step ")
    return last, int(last.split()[3])


def test_ctrl_c_writes_a_checkpoint_from_which_the_same_run_goes_on(
    train: Any, tmp_path: Path, data: Path
) -> None:
    last, reached = interrupted(start(tmp_path / "broken", data))
    assert last == f"Interrupted after step {reached} of 1000000. --resume goes on in {tmp_path / 'broken'}."
    assert read_checkpoint(tmp_path / "broken").step == reached
    assert load(tmp_path / "broken").manifest.training["step"] == reached  # the model keeps in step
    before = log("broken")
    code, _, err = train("-o", "broken", "--steps", reached + 3, *NO_PICTURES, "--resume")
    assert code == 0, err
    assert log("broken")[: len(before)] == before
    steps, seconds = ([entry[name] for entry in log("broken")] for name in ("step", "seconds"))
    assert steps == sorted(set(steps))
    assert seconds == sorted(seconds)
    assert train("-o", "whole", "--steps", reached + 3, "--set", "training.decay=0.0", *NO_PICTURES)[0] == 0
    assert same("broken", "whole")
    assert Path("broken/weights.safetensors").read_bytes() == Path("whole/weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    series.register()
    folder = tmp_path_factory.mktemp("finished") / "run"
    words = ["--data", str(data), *SMALL, *OFTEN, *NO_PICTURES, "--steps", "4", "-o", str(folder)]
    words += ["--set", "training.warmup=0"]
    assert main(["train", "mydata", *words]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", 1], "the run has seed = 0, not 1"),
        (["--batch-size", 3], "the run has batch_size = 4, not 3"),
        (["--steps", 8], "the run has steps = 4, not 8"),
        (["--set", "schedule.name=cosine"], "the run has schedule = 'EDM(sigma_max=80.0)', not 'Cosine()'"),
        (["--set", "sigma_data=0.5"], "the run has sigma_data = 1.0, not 0.5"),
        (["--set", "config.depth=2"], "the run has config = {'width': 16, 'depth': 1}, not"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_resume_of_another_run_is_refused_and_changes_nothing(
    train: Any, finished: Path, words: list[Any], message: str
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    code, out, err = train("-o", finished, "--resume", *words)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("Error: ")
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_resume_brings_a_stale_model_up_to_its_checkpoint(
    train: Any, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    manifest, weights = tmp_path / "run" / "model.json", tmp_path / "run" / "weights.safetensors"
    whole, values = weights.read_bytes(), json.loads(manifest.read_text())
    last = values["training"]["step"]
    values["training"]["step"] = last - 1
    manifest.write_text(json.dumps(values))
    weights.write_bytes(b"of an older step")
    code, _, err = train("-o", tmp_path / "run", "--resume")
    assert code == 0, err
    assert json.loads(manifest.read_text())["training"]["step"] == last
    assert weights.read_bytes() == whole


def test_a_resume_reads_its_manifest_once(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    sys.modules.pop("walk", None)
    import walk

    shutil.copytree(finished, tmp_path / "run")
    words = ["train", "mydata", "--data", str(data), *SMALL, *OFTEN, *NO_PICTURES, "-o", "run", "--resume"]
    code, seen = walk.walk(words)
    assert code == 0
    assert seen.functions[walk.COUNTED["manifest read"]] == 1


def test_a_resume_with_other_data_is_refused(train: Any, finished: Path, tmp_path: Path) -> None:
    code, _, err = train("-o", finished, "--resume", data=series.write_data(tmp_path / "years", count=9))
    assert code == 2
    assert "the run has data = '12 examples (" in err.splitlines()[-1]


def test_a_resume_may_log_save_and_draw_otherwise(train: Any, finished: Path) -> None:
    code, out, err = train("-o", finished, "--resume", "--set", "training.checkpoint_every=1", *PICTURES)
    assert code == 0, err
    assert out.startswith("Model: ")


def test_wrong_starts_are_one_line(train: Any, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = {
        2: [
            ("holds a training run. Go on with --resume", ["-o", finished]),
            ("no training run to resume", ["-o", "nothing", "--resume"]),
            (
                "training.condition_dropout must be between 0 and 1, got 2.0",
                ["-o", "x", "--set", "training.condition_dropout=2.0"],
            ),
            ("training.ema_width must be between 0 and 0.28", ["-o", "x", "--set", "training.ema_width=0.5"]),
        ],
        1: [("cannot be written", ["-o", "file/run", *NO_PICTURES])],
    }
    if not torch.cuda.is_available():
        cases[2].append(("There is no CUDA GPU", ["-o", "x", "--device", "cuda"]))
    for expected, starts in cases.items():
        for message, words in starts:
            code, out, err = train(*words)
            assert (code, out) == (expected, ""), message
            assert message in err.splitlines()[-1]
            assert "Traceback" not in err
    assert not Path("x").exists()


def test_a_truncated_checkpoint_is_one_line(train: Any, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("model.json", "weights.safetensors", "checkpoint.safetensors"):
        (folder / name).write_bytes((finished / name).read_bytes())
    whole = (folder / "checkpoint.safetensors").read_bytes()
    (folder / "checkpoint.safetensors").write_bytes(whole[: len(whole) // 2])
    code, _, err = train("-o", folder, "--resume")
    assert code == 2
    assert "checkpoint.safetensors: damaged or no checkpoint" in err.splitlines()[-1]


# --- fine-tuning --------------------------------------------------------------------------------------------


def test_a_run_begins_with_the_weights_of_a_model_and_says_so(train: Any) -> None:
    train("-o", "first", "--steps", 2, *NO_PICTURES, "--set", "sampling.steps=7")
    code, _, err = train("-o", "second", "--from", "first", "--steps", 1, "--learning-rate", 1e-12)
    assert code == 0, err
    assert "Weights of first" in err
    before, after = load("first"), load("second")
    for name, value in before.network.state_dict().items():
        torch.testing.assert_close(after.network.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    assert after.manifest.training["from"] == {"model": "first", "hash": before.hash}
    assert after.manifest.sampling.steps == 7  # what the run does not say is the model's
    train("-o", "second", "--resume", "--steps", 3)
    assert load("second").manifest.training["from"]["hash"] == before.hash


def test_what_does_not_fit_starts_anew_and_is_named(train: Any) -> None:
    train("-o", "first", "--steps", 1, *NO_PICTURES)
    code, _, err = train("-o", "second", "--from", "first", "--steps", 1, "--set", "config.depth=2")
    assert code == 0, err
    assert "Weights of first, but for " in err
    assert "blocks.1." in err


def test_a_model_to_begin_with_must_be_there_and_of_the_domain(train: Any) -> None:
    assert train("-o", "run", "--from", "nowhere", "--steps", 1)[0] == 3
    code, _, err = train("-o", "run", "--from", "audio", "--steps", 1)
    assert code == 2
    assert "of the domain 'audio'" in err
    train("-o", "run", "--steps", 1, *NO_PICTURES)
    code, _, err = train("-o", "run", "--resume", "--from", "run", "--steps", 2)
    assert code == 2
    assert "leave out --from" in err
