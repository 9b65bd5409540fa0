"""Each example does what its first lines say, made small where that is possible."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, request.param, raising=False)
    return importlib.import_module(request.param)


def uses(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'@uses("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@uses("two_moons")
def test_two_moons_are_learnt(example: ModuleType) -> None:
    points = example.sample(example.train(steps=1500), count=200)
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    off = example.distance_to_moons(points)
    assert off.mean() < example.distance_to_moons(noise).mean() / 4
    assert example.drawn(points).count("o") > 50


@uses("own_solver")
def test_own_solver_is_of_second_order(example: ModuleType) -> None:
    errors = [example.error(example.bashforth, steps) for steps in (20, 40)]
    assert math.log2(errors[0] / errors[1]) > 1.5
    assert errors[1] < example.error("ddim", 40) / 2


@uses("inverse_problem")
def test_inverse_problem_meets_the_exact_posterior(example: ModuleType) -> None:
    _, seen = example.problem()
    paths = example.posterior(seen, draws=64, steps=40)
    mean, deviation = example.exact(seen)
    off = (paths.mean(0) - mean) / deviation
    assert off.square().mean().sqrt() < 0.3  # 64 draws of the exact posterior: 1 / 8
    assert 0.8 < (paths.std(0) / deviation).mean() < 1.2


@uses("domain_in_a_page")
@pytest.mark.slow
def test_domain_in_a_page_trains_and_samples(example: ModuleType) -> None:
    melodies = example.main(steps=3)
    assert len(melodies) == 3
    assert all(len(notes) == example.LENGTH and set(notes) <= set(example.NOTES) for notes in melodies)


@uses("protein_motif")
def test_protein_motif_is_carried(example: ModuleType, tmp_path: Path) -> None:
    sample, source = example.design(steps=3)
    assert 50 <= len(sample.example) <= 62
    assert example.motif_distance(sample.example, source) < 0.2
    sample.save(tmp_path / "design.pdb")
    assert (tmp_path / "design.pdb.json").exists()
