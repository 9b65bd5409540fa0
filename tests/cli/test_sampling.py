"""`polydiff sample`, `replay` and `evaluate`: flags, files, reports, and what goes wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from polydiff.cli.main import main
from polydiff.model import load
from polydiff.models.refs import resolve
from polydiff.sampling.provenance import Provenance
from tests import series


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    series.register()
    return str(series.model().save(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series.register()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Exit code, stdout and stderr of a command line."""

    def call(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def names(folder: str | Path) -> list[str]:
    return sorted(os.listdir(folder))


# --- what is written ----------------------------------------------------------------------------------------


def test_files_records_sheet_and_table(run: Any, model: str) -> None:
    code, out, _ = run("sample", model, "-n", 3, "--seed", 5, "--steps", 2, "--label", "warm", "-o", "out")
    assert code == 0
    assert names("out") == [*(f"000{i}.csv{end}" for i in range(3) for end in ("", ".json")), "contact.png"]
    assert out.splitlines()[0].split() == ["FILE", "SEED", "LABEL", "NOTES"]
    assert out.splitlines()[3].split() == ["out/0002.csv", "7", "warm"]
    assert "3 written" in out
    assert "out/contact.png" in out


def test_a_repeated_flag_goes_round_and_mixes(run: Any, model: str) -> None:
    code, out, _ = run(
        "sample", model, "--label", "warm", "--label", "warm:1,cold:3", "--steps", 2, "-o", "out", "--json"
    )
    assert code == 0
    files = json.loads(out)["files"]
    assert [file["conditions"]["label"] for file in files] == ["warm", {"cold": 0.75, "warm": 0.25}]


def test_options_of_the_domain_are_flags(run: Any, model: str) -> None:
    assert run("sample", "--length", 5, model, "--steps", 2, "-o", "five.csv")[0] == 0
    assert names(".") == ["five.csv", "five.csv.json"]
    assert len(Path("five.csv").read_text().splitlines()) == 6
    assert "--length" in run("sample", model, "--help")[1]
    assert "One of average, cold, warm" in " ".join(run("sample", model, "--help")[1].split())


def test_a_models_own_help_does_not_wait_for_torch(model: str) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(series.PACKAGE)!r})
from polydiff.cli.main import main
assert main(["-p", "polydiff_mydata", "sample", {model!r}, "--help"]) == 0
assert main(["-p", "polydiff_mydata", "sample", {model!r}, "--labl", "x"]) == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--label" in done.stdout


def test_shards_make_the_files_of_the_whole(run: Any, model: str) -> None:
    common = ("sample", model, "-n", 4, "--seed", 1, "--steps", 2)
    run(*common, "-o", "whole")
    for part in (0, 1):
        assert run(*common, "-o", "parts", "--shard", f"{part}/2")[0] == 0
    for i in range(4):
        assert Path(f"whole/000{i}.csv").read_bytes() == Path(f"parts/000{i}.csv").read_bytes()
    assert "contact-1of2.png" in names("parts")


def test_resume_makes_what_is_missing(run: Any, model: str) -> None:
    run("sample", model, "-n", 3, "--steps", 2, "-o", "out", "--label", "cold")
    before = {name: Path("out", name).stat().st_mtime_ns for name in names("out")}
    Path("out/0001.csv.json").unlink()
    Path("out/0002.csv").write_text("spoilt")
    code, out, _ = run("sample", model, "-n", 4, "--steps", 2, "-o", "out", "--label", "cold", "--resume")
    assert code == 0
    assert "3 written" in out
    assert "1 were there already" in out
    assert Path("out/0000.csv").stat().st_mtime_ns == before["0000.csv"]
    assert [Provenance.read(f"out/000{i}.csv.json").index for i in range(4)] == [0, 1, 2, 3]


def test_a_budget_of_memory_is_for_a_gpu(run: Any, model: str) -> None:
    code, _, err = run("sample", model, "--memory", "1GiB", "--device", "cpu")
    assert code == 2
    assert "memory is a budget for a CUDA device" in err


def test_nothing_is_overwritten(run: Any, model: str) -> None:
    arguments = ("sample", model, "--steps", 2, "--seed", 1)
    assert run(*arguments, "-o", "out")[0] == 0
    code, _, err = run(*arguments, "-o", "out")
    assert code == 2
    assert "out/0000.csv exists" in err
    code, _, err = run("sample", model, "--steps", 3, "--seed", 1, "-o", "out", "--resume")
    assert code == 2
    assert "is of another run (steps differs)" in err
    assert run(*arguments)[0] == run(*arguments)[0] == 0
    assert {"samples", "samples-2"} < set(names("."))


def test_a_dry_run_writes_nothing(run: Any, model: str) -> None:
    code, out, _ = run("sample", model, "-n", 2, "--seed", 1, "--solver", "heun", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert plan["solver"] == "heun.v1"
    assert plan["samples"][1]["seed"] == 2
    assert plan["samples"][0]["path"] == "samples/0000.csv"
    assert names(".") == []


def test_a_trajectory_is_a_picture(run: Any, model: str) -> None:
    assert run("sample", model, "--steps", 3, "-o", "out", "--trajectory")[0] == 0
    assert Path("out/0000.trajectory.png").read_bytes().startswith(b"\x89PNG")


def test_options_are_for_the_solver_and_grid_that_a_flag_names(run: Any, model: str) -> None:
    def rows(*more: str) -> int:
        assert run("sample", model, "--steps", 4, "--seed", 1, *more, "-o", "out.csv")[0] == 0
        record = json.loads(Path("out.csv.json").read_text())
        Path("out.csv").unlink()
        return len(record["table"]["rows"])

    jump = ("--set", "sampling.grid_options.jump=4")
    assert (rows("--grid", "repaint"), rows("--grid", "repaint", *jump)) == (10, 4)
    assert rows("--grid", "karras", "--set", "sampling.grid=repaint", *jump) == 4  # they are another's
    order = ("--set", "sampling.solver_options.order=3")
    assert (rows("--solver", "dpmpp_singlestep"), rows("--solver", "dpmpp_singlestep", *order)) == (7, 10)


def test_settings_beside_flags(run: Any, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.toml").write_text("[sampling]\nsteps = 3\nsolver = 'dpmpp'\nsolver_options = { order = 3 }\n")

    def steps(*more: Any) -> int:
        code, out, err = run("sample", model, "--dry-run", "--json", *more)
        assert code == 0, err
        return json.loads(out)["steps"]

    assert steps() == 20
    assert steps("-c", "c.toml") == 3
    monkeypatch.setenv("POLYDIFF_SAMPLING__STEPS", "4")
    assert steps("-c", "c.toml") == 4
    assert steps("-c", "c.toml", "--set", "sampling.steps=5") == 5
    assert steps("-c", "c.toml", "--set", "sampling.steps=5", "--steps", 6) == 6


def test_variation_and_region(run: Any, model: str) -> None:
    load(model).domain.save(series.year(), Path("year.csv"))
    assert run("sample", model, "--from", "year.csv", "--strength", 0.3, "--steps", 2, "-o", "a")[0] == 0
    assert run("sample", model, "--from", "year.csv", "--keep", "0:6", "--steps", 2, "-o", "b")[0] == 0
    assert Path("b/0000.csv").read_text().splitlines()[:7] == Path("year.csv").read_text().splitlines()[:7]
    assert run("replay", "b/0000.csv.json")[1].strip().endswith("the same to the last byte.")


# --- replay and evaluate ------------------------------------------------------------------------------------


def test_replay_compares(run: Any, model: str) -> None:
    run("sample", model, "--steps", 2, "-o", "x.csv", "--seed", 1)
    code, out, _ = run("replay", "x.csv.json", "--json", "-o", "again.csv")
    assert code == 0
    assert json.loads(out)["identical"] is True
    assert Path("again.csv").read_bytes() == Path("x.csv").read_bytes()
    lines = Path("x.csv").read_text().splitlines()
    Path("x.csv").write_text("\n".join([*lines[:-1], "99.0"]) + "\n")
    code, out, _ = run("replay", "x.csv.json")
    assert code == 1
    assert "DIFFERS" in out


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), ("{", "cannot be read"), ("{}", "not a provenance file")]
)
def test_replay_of_something_else(run: Any, content: str | None, message: str) -> None:
    if content is not None:
        Path("x.json").write_text(content)
    code, _, err = run("replay", "x.json")
    assert code == 2
    assert message in err


def test_a_sample_is_made_again_on_as_many_threads(
    run: Any, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        assert run("sample", model, "--steps", 2, "-o", "one.csv")[0] == 0
        record = Path("one.csv.json")
        assert Provenance.read(record).threads == torch.get_num_threads() == 1
        record.write_text(record.read_text().replace('"threads": 1', '"threads": 2'))
        assert run("replay", record)[0] == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_evaluate_measures(run: Any, model: str) -> None:
    series.write_data(Path("real"))
    run("sample", model, "-n", 4, "--steps", 2, "-o", "made", "--label", "warm")
    code, out, _ = run("evaluate", "mydata", "made", "--reference", "real", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["samples"], report["reference"]) == (4, 12)
    assert report["figures"]["energy_distance"] > 0
    own = json.loads(run("evaluate", model, "real", "--reference", "real", "--json")[1])
    assert own["figures"]["energy_distance"] == 0
    code, _, err = run("evaluate", "mydata", "nowhere", "--reference", "real")
    assert code == 2
    assert "no such folder" in err


# --- what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--labl", "warm"], 2, "Did you mean '--label'?"),
        (["--label", "wram"], 2, "Did you mean 'warm'?"),
        (["--solver", "adms"], 2, "Did you mean 'adams'?"),
        (["--set", "sampling.stps=3"], 2, "Did you mean 'steps'?"),
        (["--set", "samplin.steps=3"], 2, "Did you mean 'sampling'?"),
        (["--set", "schedule.name=ve"], 2, "schedule is fixed by the model"),
        (["--set", "sampling.solver_options.oder=2"], 2, "Did you mean 'order'?"),
        (["--solver", "dpmpp", "--set", "sampling.solver_options.order=9"], 2, "from 1 to 3"),
        (["--grid", "repaint", "--set", "sampling.grid_options.jump=0"], 2, "at least 1"),
        (
            ["--guidance", "apg", "--guidance-scale", "2", "--set", "sampling.guidance_options.norm=-1"],
            2,
            "0 or more",
        ),
        (["--shard", "4/4"], 2, "write PART/PARTS"),
        (["-n", "two"], 2, "not a valid integer"),
        (["--format", "csw"], 2, "Did you mean '.csv'?"),
        (["-n", "2", "-o", "x.csv"], 2, "a file is for one sample"),
        (["-n", "1", "-o", "x.npz"], 2, "x.npz: mydata writes .csv, no .npz"),
        (["--threads", "0"], 2, "--threads must be at least 1"),
        (["-o", "blocked/out"], 1, "cannot be written"),
        (["-o", "blocked"], 2, "not a folder"),
        (["--from", "text.csv"], 2, "text.csv: not a CSV file of numbers"),
        (["--from", "image.png"], 2, "mydata reads .csv"),
    ],
)
def test_one_line_and_its_code(run: Any, model: str, words: list[str], code: int, message: str) -> None:
    for name in ("blocked", "text.csv", "image.png"):
        Path(name).write_text("no,numbers\nin,here\n")
    found, _, err = run("sample", model, "--steps", 1, *words)
    assert found == code, err
    assert message in err
    assert err.count("\n") == 1
    assert names(".") == ["blocked", "image.png", "text.csv"]


def test_a_full_disk_is_one_line(run: Any, model: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))  # no file may grow beyond: EFBIG
    try:
        code, _, err = run("sample", model, "--steps", 1, "-o", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert "out/0000.csv: cannot be written (File too large)" in err
    assert names("out") == []


@pytest.fixture
def process(model: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A long run of its own process, once its first files are there."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; from tests import series; series.register(); from polydiff.cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(script), "sample", model, "-n", "5000", "--steps", "4", "-o", "out"]
    running = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "0002.csv.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    yield running
    running.kill()
    running.wait()


def whole(folder: Path, model: str) -> int:
    """How many samples there are; each must be readable and as long as its record says."""
    domain = load(model).domain
    paths = sorted(path for path in folder.glob("*.csv"))
    for path in paths:
        assert domain.load(path).values.shape == (12, 1)
    return len(paths)


def test_ctrl_c_finishes_cleanly(process: subprocess.Popen[str], model: str, tmp_path: Path) -> None:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume goes on" in err
    assert "Traceback" not in err
    count = whole(tmp_path / "out", model)
    assert 3 <= count < 5000
    assert len(list((tmp_path / "out").glob("*.csv.json"))) == count
    assert not [name for name in names(tmp_path / "out") if name.startswith(".")]


def test_kill_leaves_whole_files(
    process: subprocess.Popen[str], run: Any, model: str, tmp_path: Path
) -> None:
    process.kill()
    process.wait()
    count = whole(tmp_path / "out", model)
    assert 3 <= count < 5000
    for path in (tmp_path / "out").glob("*.json"):
        Provenance.read(path)
    code, _, err = run("sample", model, "-n", count + 1, "--steps", 4, "-o", tmp_path / "out", "--resume")
    assert code == 0, err
    assert whole(tmp_path / "out", model) == count + 1
    assert not [name for name in names(tmp_path / "out") if name.startswith(".")]


def test_a_condition_may_be_called_as_a_flag_of_every_command_is(tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(resolve("audio/digits"), folder)
    manifest = (folder / "model.json").read_text().replace('"name": "digit"', '"name": "help"')
    (folder / "model.json").write_text(manifest)
    assert main(["sample", str(folder), "--help"]) == 0
    page = capsys.readouterr().out
    assert "--condition-help" in page
    assert "--speaker" in page
