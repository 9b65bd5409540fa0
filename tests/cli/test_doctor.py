"""`polydiff doctor` and `polydiff schema` on presets that are whole and presets that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from safetensors.torch import save_file

from polydiff.cli.main import main
from polydiff.conditions import Categorical, ConditionSet
from polydiff.plugins import registry
from polydiff.plugins.registry import Registry
from polydiff.spec import DomainInfo, PresetInfo


class Config(BaseModel):
    width: int = 8


class Options(BaseModel):
    turns: float = 1.0


class Knots:
    """Closed curves."""

    name = "knots"
    Config: ClassVar[Any] = Config
    Options: ClassVar[Any] = Options

    def conditions(self) -> ConditionSet:
        return ConditionSet((Categorical(name="family", choices=("torus", "twist")),))


@pytest.fixture
def knots(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(registry, "installed", lambda: [])
    found = Registry()
    found.register(Knots)
    monkeypatch.setattr(registry, "_registry", found)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder of the domain."""
    conditions = ConditionSet((Categorical(name="family", choices=("torus",)),)).model_dump(mode="json")
    manifest = {"schema_version": 1, "domain": "knots", "config": {"width": 4}, "conditions": conditions}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    save_file({"weight": torch.zeros(4)}, tmp_path / "weights.safetensors")
    return tmp_path


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] == (code == 0)
    return code, {finding["what"]: finding for finding in report["findings"]}


def test_all_is_well(capsys: pytest.CaptureFixture[str], knots: Registry, folder: Path) -> None:
    knots.register(PresetInfo("knots", "one", str(folder), "CC0-1.0"))
    knots.register(PresetInfo("knots", "far", "hf://someone/knots", "CC0-1.0"))
    code, findings = doctor(capsys)
    assert code == 0
    assert findings["torch"]["detail"].startswith(torch.__version__)
    assert findings["preset knots/one"]["detail"].startswith("whole")
    assert "fetched when first used" in findings["preset knots/far"]["detail"]
    assert main(["doctor"]) == 0
    assert "preset knots/one" in capsys.readouterr().out


def test_damaged_presets(capsys: pytest.CaptureFixture[str], knots: Registry, folder: Path) -> None:
    knots.register(PresetInfo("knots", "one", str(folder), "CC0-1.0"))
    knots.register(PresetInfo("knots", "gone", str(folder / "gone"), "CC0-1.0"))
    knots.register(PresetInfo("other", "alien", str(folder), "CC0-1.0"))
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, findings = doctor(capsys)
    assert code == 1
    assert "truncated" in findings["preset knots/one"]["detail"]
    assert "does not exist" in findings["preset knots/gone"]["detail"]
    assert all(
        findings[f"preset {ref}"]["status"] == "fail" for ref in ("knots/one", "knots/gone", "other/alien")
    )


def test_a_preset_of_another_domain(
    capsys: pytest.CaptureFixture[str], knots: Registry, folder: Path
) -> None:
    knots.register(PresetInfo("other", "alien", str(folder), "CC0-1.0"))
    code, findings = doctor(capsys)
    assert (code, findings["preset other/alien"]["detail"]) == (1, "holds a model of knots")


def test_broken_plugins_and_collisions(capsys: pytest.CaptureFixture[str], knots: Registry) -> None:
    knots.register(DomainInfo("lost", "Lost", "", "no.where:Lost"))
    knots.register(type("Again", (), {"name": "adams"}))
    code, findings = doctor(capsys)
    assert code == 3
    assert "needs the module 'no'" in findings["domain lost"]["detail"]


def test_schema_of_a_domain(capsys: pytest.CaptureFixture[str], knots: Registry) -> None:
    assert main(["schema", "knots"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["conditions"]["properties"]["family"]["enum"] == ["torus", "twist"]
    assert schema["config"]["properties"]["width"]["default"] == 8
    assert schema["options"]["properties"]["turns"]["type"] == "number"


@pytest.mark.parametrize("ref", ["knots", "knots/one", "folder"])
def test_schema_of_a_model(
    capsys: pytest.CaptureFixture[str], knots: Registry, folder: Path, ref: str
) -> None:
    knots.register(PresetInfo("knots", "one", str(folder), "CC0-1.0"))
    assert main(["schema", str(folder) if ref == "folder" else ref]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["conditions"]["properties"]["family"]["enum"] == ["torus"]
    assert (schema["domain"], schema["config_values"]) == ("knots", {"width": 4})


def test_schema_of_a_model_with_unreadable_conditions(
    capsys: pytest.CaptureFixture[str], knots: Registry, folder: Path
) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**manifest, "conditions": [{"kind": "smell"}]}))
    assert main(["schema", str(folder)]) == 2
    assert "model.json: conditions: " in capsys.readouterr().err
