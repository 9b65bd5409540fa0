"""Sampling options: one value for Python, the command line, plain data and records; and what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polydiff.cli.main import main
from polydiff.cli.sample import command
from polydiff.cli.sample_run import Settings
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError
from polydiff.model import Model, load
from polydiff.sampling.options import SamplingOptions, check_options
from polydiff.sampling.provenance import Provenance
from tests import series

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(series.model().save(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series.register()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(folder: str) -> Model:
    return load(folder)


# --- one place ----------------------------------------------------------------------------------------------


def test_the_command_asks_for_each_name_and_for_no_other() -> None:
    flags = {param.name for param in command.params} - {"model", "dry_run", "as_json"}
    asked = (flags - set(Settings.names())) | {"conditions", "options"}  # these two are the model's own flags
    assert asked | {"indices"} == set(SamplingOptions.names())  # --shard says which


def test_a_command_without_flags_asks_for_the_defaults(folder: str) -> None:
    values = command.make_context("sample", [folder]).params
    asked = {name: value for name, value in values.items() if name in SamplingOptions.names()}
    assert asked["graphs"] is True
    assert SamplingOptions.from_dict(asked) == SamplingOptions()


def test_every_name_has_its_line_of_documentation() -> None:
    text = SamplingOptions.__doc__ or ""
    assert [name for name in SamplingOptions.names() if f"        {name}: " not in text] == []


@pytest.mark.parametrize(
    "values",
    [
        {"n": 3, "seed": 4, "steps": 5},
        {"seed": 1, "steps": 3, "conditions": {"label": ["warm", "cold"]}, "options": {"length": 7}},
        {"seed": 1, "steps": 3, "solver": "dpmpp", "grid": "karras", "batch_size": 2, "device": "cpu"},
        {"seed": 1, "guidance": "apg", "guidance_scale": 2.5, "conditions": {"label": ["warm"]}},
        {"n": 2, "seed": 1, "steps": 3, "source": "a.csv", "strength": 0.3},
        {"seed": 1, "steps": 3, "source": "a.csv", "strength": 0.1, "denoise": True, "graphs": False},
        {"seed": 1, "steps": 3, "source": "a.csv", "keep": "0:4"},
        {"n": 3, "seed": 1, "steps": 3, "source": "a.csv", "target": "b.csv"},
        {"seed": 1, "steps": 3, "source": "a.csv", "target": "b.csv", "share": 0.25},
    ],
)
def test_python_plain_data_and_the_command_line_give_the_same_plan(
    folder: str, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(folder)
    for name, year in (("a.csv", 0), ("b.csv", 40)):
        model.domain.save(series.year(year), Path(name))
    options = SamplingOptions.from_dict(json.loads(json.dumps(values)))
    assert SamplingOptions.from_dict(options.to_dict()) == options
    assert options.to_dict() == values
    by_options, by_name = model.plan(options), model.plan(**values)
    assert by_options.record == by_name.record
    assert by_options.table == by_name.table
    assert by_options.describe() == by_name.describe()

    assert main(["sample", folder, "--dry-run", "--json", *words(values)]) == 0
    asked = json.loads(capsys.readouterr().out)
    del asked["finished"]
    for sample in asked["samples"]:
        del sample["path"]
    assert asked == json.loads(json.dumps(by_options.describe()))


def words(values: dict[str, Any]) -> list[str]:
    """The same, as one types it."""
    flags = {"source": "--from", "target": "--to", "n": "-n"}
    found: list[str] = []
    for name, value in values.items():
        flag = flags.get(name, "--" + name.replace("_", "-"))
        if name in ("conditions", "options"):
            for own, one in value.items():
                for item in one if isinstance(one, list) else [one]:
                    found += [f"--{own}", str(item)]
        elif isinstance(value, bool):
            found.append(flag if value else f"--no-{name}")
        else:
            found += [flag, str(value)]
    return found


def test_a_table_is_plain_data_too(model: Model) -> None:
    table = make_table("ddim", model.schedule, 3)
    options = SamplingOptions(seed=1, solver=table)
    again = SamplingOptions.from_dict(json.loads(json.dumps(options.to_dict())))
    assert again == options
    assert model.plan(again).table == table


def test_paths_and_numbers_of_numpy_become_plain(tmp_path: Path) -> None:
    options = SamplingOptions(
        n=np.int64(3), strength=np.float32(0.5), source=tmp_path / "a.csv", indices=np.array([2, 0])
    )
    check_options(options)
    values = options.to_dict()
    assert values == {"n": 3, "source": str(tmp_path / "a.csv"), "strength": 0.5, "indices": [2, 0]}
    assert json.loads(json.dumps(values)) == values


@pytest.mark.parametrize("values", [{"source": series.year()}, {"guidance": lambda denoiser: denoiser}])
def test_what_is_no_data_is_not_written_as_data(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(values))}: .* is no plain data"):
        SamplingOptions(**values).to_dict()


def test_a_record_asks_for_its_sample_again(model: Model) -> None:
    model.domain.save(series.year(), Path("a.csv"))
    made = model.sample(2, seed=3, steps=3, source="a.csv", strength=0.4, guidance_scale=2.0, device="cpu")
    record = made[1].provenance
    options = SamplingOptions.of_record(record)
    check_options(options)
    assert (options.n, options.seed, options.source, options.strength) == (1, 4, "a.csv", 0.4)
    [again] = model.sample(options)
    np.testing.assert_array_equal(again.example.values, made[1].example.values)
    named = {"index": 1, "solver": record.solver, "grid": record.grid}  # a bare table knows no versions
    assert record.differs_from(again.provenance.model_copy(update=named)) == ""


def test_options_say_everything(model: Model) -> None:
    options = SamplingOptions(n=2, seed=5, steps=2, options={"length": 9})
    by_options, by_name = model.sample(options), model.sample(2, 5, steps=2, length=9)
    streamed = list(model.stream(options))
    for a, b, c in zip(by_options, by_name, streamed, strict=True):
        np.testing.assert_array_equal(a.example.values, b.example.values)
        np.testing.assert_array_equal(a.example.values, c.example.values)
    with pytest.raises(UsageError, match=r"steps beside SamplingOptions: put it in"):
        model.plan(options, steps=3)
    with pytest.raises(UsageError, match=r"seed beside SamplingOptions"):
        model.plan(options, 3)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": "two"}, "n must be a whole number, got 'two'"),
        ({"n": True}, "n must be a whole number, got True"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"seed": "3"}, "seed must be a whole number, got '3'"),
        ({"guidance_scale": "high"}, "guidance_scale must be a number, got 'high'"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a number of 0 or more"),
        ({"conditions": ["warm"]}, "conditions must be names with values"),
        ({"options": 3}, "options must be names with values, got 3"),
        ({"solver": 3}, "solver must be a text or a Table, got 3"),
        ({"guidance": 3}, "guidance must be a text or a function, got 3"),
        ({"graphs": "yes"}, "graphs must be true or false, got 'yes'"),
        ({"memory": 1.5}, "memory must be a whole number or a text, got 1.5"),
        ({"memory": "1GiB", "batch_size": 2}, "memory chooses the batch_size: give one of them"),
        ({"n": 2, "indices": [0, 2]}, "there is no sample 2, they count from 0 to 1"),
        ({"n": 2, "indices": [-1]}, "there is no sample -1"),
        ({"indices": 0}, "indices must be a list, got 0"),
    ],
)
def test_a_bad_value_is_one_line(values: dict[str, Any], message: str) -> None:
    options = SamplingOptions.from_dict(values)
    with pytest.raises(UsageError, match=message) as error:
        check_options(options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("stesp", "steps"), ("guidence_scale", "guidance_scale"), ("batchsize", "batch_size")],
)
def test_an_unknown_name_is_refused_with_the_nearest(model: Model, name: str, nearest: str) -> None:
    line = f"sampling: unknown name '{name}'. Did you mean '{nearest}'?"
    with pytest.raises(UsageError, match=line.replace("?", r"\?")):
        SamplingOptions.from_dict({name: 1})
    with pytest.raises(UsageError, match=line.replace("?", r"\?")):
        model.plan(**{name: 1})


def test_a_check_is_a_function_of_its_argument() -> None:
    options = SamplingOptions(n=2, seed=1, source="nowhere.csv", strength=0.5)
    before = replace(options)
    check_options(options)  # looks at no file: whether there is one is for the plan to find out
    assert options == before
    assert all(getattr(SamplingOptions(), one.name) in (None, {}, True, False) for one in fields(options))


def test_a_device_may_be_torchs_own(model: Model) -> None:
    assert model.plan(1, seed=0, device=torch.device("cpu")).device == "cpu"


# --- each thing once ----------------------------------------------------------------------------------------


def test_a_command_does_each_thing_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sys.modules.pop("walk", None)
    import walk

    def counts(*words: str) -> dict[str, int]:
        code, seen = walk.walk(["sample", folder, "--steps", "2", "--seed", "0", *words])
        assert code == 0
        assert seen.changes > len(seen.modules) > 20
        return {what: seen.functions[name] for what, name in walk.COUNTED.items()}

    once = {"manifest read": 1, "guidance built": 1, "record read": 0}
    assert counts("-n", "3", "-o", "a", "--guidance-scale", "2") == {**once, "engine request built": 3}
    assert counts("-n", "1", "--dry-run") == {**once, "engine request built": 1}
    _, seen = walk.walk(["replay", "a/0000.csv.json"])
    assert seen.functions[walk.COUNTED["record read"]] == 1
    assert seen.functions[walk.COUNTED["manifest read"]] == 1


def test_what_the_walk_counts_is_there() -> None:
    from polydiff.models.manifest import read_manifest
    from polydiff.sampling.guidance import guided
    from polydiff.sampling.plan import engine_request

    sys.path.insert(0, str(SCRIPTS))
    try:
        from walk import COUNTED
    finally:
        sys.path.remove(str(SCRIPTS))
    found = [read_manifest, guided, engine_request, Provenance.read.__func__]  # type: ignore[attr-defined]
    assert [f"{one.__module__}.{one.__qualname__}" for one in found] == list(COUNTED.values())


def test_the_record_in_hand_is_the_record_on_disk(model: Model) -> None:
    [sample] = model.sample(1, seed=0, steps=2, conditions={"label": {"warm": 1, "cold": 3}})
    assert sample.write("x.csv") == Provenance.read("x.csv.json")


def test_a_plan_makes_the_same_samples_twice(model: Model) -> None:
    plan = model.plan(2, seed=0, steps=3, source=series.year(), keep="0:4", guidance_scale=2.0)
    first, second = ([sample.example.values for sample in plan.stream()] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first[0][:4], series.year().values[:4])
