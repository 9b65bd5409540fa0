"""`polydiff calibrate`: what it writes, when its tables are used, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polydiff.calibration.fit import Problem, distances
from polydiff.cli.main import main
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.model import Model, load
from polydiff.models.calibrated import SavedTable, table_path, tables_in
from polydiff.models.manifest import Part
from polydiff.plugins.registry import get_registry
from polydiff.spec import PresetInfo
from polydiff.workflows.calibrate import (
    calibrate,
    drawn_conditions,
    examples_of,
    extended_tables,
    reference_problem,
    references,
)
from polydiff.workflows.replay import replay
from tests import series

KEEP = "0:6"


@pytest.fixture(scope="module", autouse=True)
def few_calls() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polydiff.workflows.calibrate.REFERENCE_CALLS", 20)
        yield


@pytest.fixture(scope="module")
def saved() -> SavedTable:
    return calibrate(series.model(), 3, seeds=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    series.register()
    return series.model().save(tmp_path / "model")


@pytest.fixture
def tuned(folder: Path, saved: SavedTable) -> Model:
    saved.write(table_path(folder, 3))
    return load(folder)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def test_a_fit_may_begin_with_the_models_table_of_fewer_calls(tuned, saved):
    """Whose samples it makes."""
    [(name, table)] = extended_tables(tuned, 5).items()
    assert (name, table.nfe) == ("calibrated of 3 calls", 5)
    problem = reference_problem(tuned, range(2), 20)
    own = saved.solver_table(tuned.manifest.schedule, "")
    assert torch.allclose(distances(problem, table), distances(problem, own), rtol=1e-4)
    assert extended_tables(tuned, 3) == {} == extended_tables(series.model(), 5)


def test_a_table_that_no_longer_fits_does_not_stand_in_the_way_of_a_new_one(tuned, saved, folder):
    stale = saved.model_copy(update={"schedule": Part(name="rectified_flow.v1")})
    stale.write(table_path(folder, 3))
    assert extended_tables(tuned, 5) == {}


def test_a_table_comes_nearer_to_many_calls_and_is_the_same_again(saved: SavedTable) -> None:
    assert set(saved.distances) == {"conditioned", "unconditioned"}
    assert saved.better
    assert all(found.calibrated < found.start for found in saved.distances.values())
    assert saved.model_hash == series.model().hash
    assert len(saved.table["rows"]) == 3
    assert calibrate(series.model(), 3, seeds=2) == saved


def test_a_model_that_lowers_the_noise_is_calibrated_with_less(saved: SavedTable) -> None:
    """Its table stands for its own sampler and is nearer to what that makes than one with all the noise."""
    sampler = {"solver": "ddpm", "solver_options": {"noise_scale": 0.5}}
    model = series.model().with_sampling(sampler)
    lower = calibrate(model, 3, seeds=2)
    assert lower.named == sampler
    assert lower.better
    problem = reference_problem(model, range(8, 16), 20)
    plain, own = (
        float(distances(problem, one.solver_table(one.schedule, "")).median()) for one in (saved, lower)
    )
    assert own < plain / 2
    silent = model.with_sampling({"solver": "ddpm", "solver_options": {"noise_scale": 0.0}})
    with pytest.raises(UsageError, match="noise_scale 0: without noise"):
        calibrate(silent, 3, seeds=2)


def test_conditions_are_drawn_from_the_vocabulary() -> None:
    every = drawn_conditions(series.model(), range(400), all_of_them=True)["label"]
    assert set(every) == set(series.LABELS)
    drawn = drawn_conditions(series.model(), range(400))["label"]
    assert all(some in (None, one) for some, one in zip(drawn, every, strict=True))
    # left out by a quarter of the seeds, and by half of another quarter; five deviations of that count
    assert abs(drawn.count(None) - 400 * 3 / 8) < 5 * (400 * 3 / 8 * 5 / 8) ** 0.5
    assert drawn_conditions(series.model(), range(5, 9))["label"] == drawn[5:9]


def test_a_table_must_be_better_whatever_is_asked(saved: SavedTable) -> None:
    worse = saved.distances["unconditioned"].model_copy(update={"calibrated_median": 9.0})
    assert saved.better
    assert not saved.model_copy(update={"distances": {**saved.distances, "unconditioned": worse}}).better


def test_it_is_used_at_its_number_of_steps_and_nowhere_else(tuned: Model, saved: SavedTable) -> None:
    table = Table.from_json(json.dumps(saved.table))
    assert tuned.plan(1, 0, steps=3).table == table
    assert tuned.plan(1, 0, steps=3).record.solver == "calibrated"
    assert tuned.plan(1, 0, steps=3, solver="calibrated").table == table
    assert tuned.plan(1, 0, steps=3, keep="1:4", source=series.year()).table == table
    for arguments in (
        {"steps": 4},
        {"steps": 3, "solver": "adams"},
        {"steps": 3, "grid": "karras"},
        {"steps": 3, "source": series.year()},
        {"steps": 3, "source": series.year(), "strength": 0.3, "denoise": True},
        {"steps": 3, "source": series.year(), "target": series.year(1)},
    ):
        assert tuned.plan(1, 0, **arguments).record.solver == "adams.v1"
    named = tuned.with_sampling({"solver": "dpmpp"})
    assert named.plan(1, 0, steps=3).record.solver == "dpmpp.v1"
    gridded = tuned.with_sampling({"solver": "ddpm", "grid": "karras", "grid_options": {"sigma_max": 8.0}})
    assert gridded.plan(1, 0, steps=3, solver="calibrated").table == table
    with pytest.raises(UsageError, match="--grid karras: a calibrated table has its own times"):
        gridded.plan(1, 0, steps=3, solver="calibrated", grid="karras")
    assert tuned.with_sampling({"steps": 3}).plan(1, 0).table == table
    saved.model_copy(update={"named": {"solver": "dpmpp"}}).write(tuned.tables[3])
    assert named.plan(1, 0, steps=3).table == table
    for other in ({}, {"solver": "dpmpp", "solver_options": {"order": 2}}, {"solver": "ddim"}):
        assert tuned.with_sampling(other).plan(1, 0, steps=3).table != table


def test_the_hash_stays_and_a_sample_can_be_made_again_without_the_table(
    folder: Path, tuned: Model, tmp_path: Path
) -> None:
    before = series.model().save(tmp_path / "plain")
    assert load(before).hash == tuned.hash
    [path] = tuned.sample(1, 5, steps=3, conditions={"label": "warm"}).save(tmp_path / "out")
    assert replay(f"{path}.json").identical
    assert replay(f"{path}.json", before).identical
    [plain] = load(before).sample(1, 5, steps=3, conditions={"label": "warm"})
    assert not np.array_equal(plain.example.values, tuned.domain.load(path).values)


def test_a_copy_of_a_model_has_its_tables(tuned: Model, tmp_path: Path) -> None:
    copy = load(tuned.save(tmp_path / "copy"))
    assert list(copy.tables) == [3]
    assert copy.plan(1, 0, steps=3).table == tuned.plan(1, 0, steps=3).table


def test_a_table_for_another_schedule_is_refused(folder: Path, saved: SavedTable) -> None:
    other = saved.model_copy(update={"schedule": Part(name="edm.v1", options={"sigma_max": 40.0})})
    other.write(table_path(folder, 3))
    with pytest.raises(UsageError, match=r"3.json: calibrated for the schedule edm.v1\(sigma_max=40.0\)"):
        load(folder).plan(1, 0, steps=3)
    assert load(folder).plan(1, 0, steps=4).table.nfe == 4


def test_the_command_writes_into_the_folder_and_reports(run: Any, folder: Path) -> None:
    code, out, err = run("calibrate", folder, "--steps", 3, "--seeds", 2, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["better"]
    assert report["distances"]["unconditioned"]["calibrated"] < report["distances"]["unconditioned"]["start"]
    assert list(tables_in(folder)) == [3] == [int(Path(report["file"]).stem)]
    assert "round 1: median distance" in err
    code, out, _ = run("sample", folder, "--steps", 3, "--dry-run", "--json")
    assert json.loads(out)["solver"] == "calibrated"
    code, out, _ = run("solvers", "--show", f"{folder}", "--steps", 3)
    assert code == 0
    assert out.startswith("calibrated on calibrated: 3 network calls to t = 0")
    medians = report["distances"]["unconditioned"]
    assert f"unconditioned {medians['calibrated_median']:.4f} ({medians['start_median']:.4f})" in out
    code, out, _ = run("solvers", "--show", table_path(folder, 3), "--json")
    assert json.loads(out)["table"] == SavedTable.read(table_path(folder, 3)).table


def test_a_table_elsewhere_is_named_by_its_file(run: Any, folder: Path, saved: SavedTable) -> None:
    saved.write("mine.json")
    code, out, _ = run("sample", folder, "--solver", "mine.json", "--steps", 3, "--dry-run", "--json")
    assert (code, json.loads(out)["solver"]) == (0, "calibrated")
    assert run("sample", folder, "--solver", "mine.json", "--steps", 5, "--dry-run")[0] == 2


def test_a_table_that_is_no_better_is_not_written(run: Any, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("polydiff.workflows.calibrate.fit", lambda problem, numbers: iter([(numbers, 0.0)]))
    code, out, err = run("calibrate", folder, "--steps", 3, "--seeds", 2)
    assert (code, out) == (1, "")
    assert "nothing was written" in err
    assert tables_in(folder) == {}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["calibrate", "model"], 2, "Missing option '--steps'"),
        (["calibrate", "model", "--steps", "1"], 2, "one call leaves nothing to calibrate"),
        (["calibrate", "model", "--steps", "3", "--seeds", "1"], 2, "too few"),
        (["calibrate", "nowhere/model", "--steps", "3"], 2, "no such model folder"),
        (["calibrate", "model", "--steps", "3", "-o", "model"], 1, "cannot be written"),
        (["sample", "model", "--steps", "7", "--solver", "calibrated"], 2, "no calibrated table of 7 steps"),
        (["sample", "model", "--solver", "none.json"], 2, "none.json: cannot be read"),
        (["sample", "model", "--solver", "model/model.json"], 2, "not a calibrated table"),
        (["solvers", "--show", "./model", "--steps", "9"], 2, "no calibrated table of 9 steps"),
    ],
)
def test_bad_input_is_one_line(run: Any, folder: Path, words: list[str], code: int, message: str) -> None:
    found = run(*words)
    assert found[0] == code
    assert message in found[2]
    assert len(found[2].strip().splitlines()) == 1
    assert not os.path.exists("samples")


@pytest.mark.parametrize("preset", get_registry().presets(), ids=lambda info: f"{info.domain}-{info.name}")
def test_a_shipped_table_is_of_its_model_and_better_on_unseen_seeds(preset: PresetInfo) -> None:
    model = load(preset.folder)
    for steps, path in model.tables.items():
        found = SavedTable.read(path)
        assert found.distances
        assert found.better
        assert found.model_hash == model.hash
        assert found.solver_table(model.manifest.schedule, str(path)).nfe == steps


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten files and one that is none."""
    folder = tmp_path_factory.mktemp("years")
    domain = series.model().domain
    for index in range(10):
        domain.save(series.year(index), folder / f"{index}.csv")
    (folder / "notes.txt").write_text("no series\n")
    return folder


def ends(problem: Problem) -> torch.Tensor:
    return torch.cat([case.end["rows"] for case in problem.cases])


def test_what_is_kept_of_each_source_is_in_its_sample_and_every_sample_is_as_sampled(years: Path) -> None:
    """More sources than share a network call, so that they are dealt over several."""
    model = series.model()
    sources = examples_of(model, [years], KEEP)
    assert [source.values.tolist() for source in sources] == [
        series.year(i).values.tolist() for i in range(10)
    ]
    problem = reference_problem(model, range(5, 11), 20, sources=sources, keep=KEEP)
    assert len(problem.cases) == 2
    table = make_table(schedule=model.schedule, steps=20)
    conditions = drawn_conditions(model, range(5, 11), all_of_them=True)
    for index, end in enumerate(ends(problem)):
        own = {name: values[index] for name, values in conditions.items()}
        plan = model.plan(1, 5 + index, solver=table, conditions=own, source=sources[index], keep=KEEP)
        [(_, state)] = plan.states()
        assert torch.allclose(end, state["rows"], atol=1e-4)
        truth = model.domain.encode([sources[index]])[0]["rows"][0, :6]
        assert torch.allclose(end[:6], truth, atol=1e-3)


def test_where_there_is_a_source_for_each_sample_none_serves_twice(years: Path) -> None:
    said: list[str] = []
    of = references(series.model(), 4, say=said.append, sources=[years], keep=KEEP)
    begun = [ends(problem)[:, :6] for problem in (of.fitted, of.held, *of.unseen.values())]
    assert [len(part) for part in begun] == [4, 2, 2, 2]
    apart = torch.cdist(torch.cat(begun).flatten(1), torch.cat(begun).flatten(1)) + 9 * torch.eye(10)
    assert apart.min() > 0.01
    assert said == ["reference: 10 samples by 20 calls"]
    references(series.model(), 6, say=said.append, sources=[years], keep=KEEP)
    assert said[-1].startswith("10 sources for 15 samples")


def test_a_table_fitted_to_what_sources_leave_says_so(run: Any, folder: Path, years: Path) -> None:
    words = ("calibrate", folder, "--steps", 3, "--seeds", 4, "--keep", KEEP, "--json")
    code, out, _ = run(*words, "--from", years)
    report = json.loads(out)
    assert code == 0
    assert report["better"]
    saved = SavedTable.read(report["file"])
    assert (saved.sources, saved.keep) == (10, KEEP)
    _, out, _ = run(*words, "--from", years / "0.csv", "--from", years / "3.csv")
    assert json.loads(out)["sources"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "model/model.json", "--keep", KEEP], "mydata reads .csv"),
        (["--from", "nowhere.csv", "--keep", KEEP], "nowhere.csv: no such file"),
        (["--from", "model", "--keep", KEEP], "model: no .csv file in it"),
        (["--from", "broken.csv", "--keep", KEEP], "broken.csv: not a CSV file"),
        (["--from", "year.csv"], "--from needs --keep"),
        (["--keep", KEEP], "keep needs a source to start from (--from FILE"),
        (["--from", "year.csv", "--keep", "0:12"], "year.csv: --keep 0:12 keeps everything"),
        (["--from", "year.csv", "--keep", "0:90"], "year.csv: '0:90': a region is FIRST:LAST"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line(
    run: Any, folder: Path, words: list[str], message: str
) -> None:
    Path("broken.csv").write_text("no numbers\nat all\n")
    series.model().domain.save(series.year(), Path("year.csv"))
    code, out, err = run("calibrate", "model", "--steps", 3, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
