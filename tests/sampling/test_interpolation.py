"""Ways from one source to another, and noise taken off a source: results, records, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff.sampling.provenance import Provenance
from polydiff.workflows.replay import replay
from tests import series


@pytest.fixture(scope="module")
def model() -> Model:
    return series.model()


def values(sample: Any) -> np.ndarray:
    return sample.example.values


def test_a_way_is_the_same_alone_and_in_company(model: Model) -> None:
    ends: dict[str, Any] = {"source": series.year(0), "target": series.year(40), "seed": 0, "steps": 20}
    way = model.sample(3, **ends)
    [middle] = model.sample(1, share=0.5, **ends)
    assert np.array_equal(values(way[1]), values(middle))
    [again] = model.sample(3, indices=[1], **ends)
    assert np.array_equal(values(way[1]), values(again))
    first, last = (np.abs(values(way[0]) - values(way[i])).max() for i in (1, 2))
    assert 0 < first < last


def test_a_way_can_be_made_again_from_its_record(model: Model, tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, number in zip(paths, (0, 40), strict=True):
        model.domain.save(series.year(number), path)
    samples = model.sample(2, seed=1, source=str(paths[0]), target=str(paths[1]), steps=4)
    samples.save(tmp_path / "made")
    record = Provenance.read(tmp_path / "made" / "0001.csv.json")
    assert record.source is not None
    assert (record.source.target, record.source.share) == (str(paths[1]), 1.0)
    assert replay(tmp_path / "made" / "0001.csv.json", model).agrees
    model.domain.save(series.year(3), paths[1])
    with pytest.raises(UsageError, match=r"b\.csv: not the file that this sample goes to"):
        replay(tmp_path / "made" / "0001.csv.json", model)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"target": 1}, "two ends"),
        ({"source": 0, "share": 0.5}, "share needs an example to go to"),
        ({"source": 0, "target": 1, "share": 1.5}, "between 0 and 1"),
        ({"source": 0, "target": 1, "strength": 0.5}, "strength, denoise, keep and redo say nothing"),
        ({"source": 0, "target": "gone.csv"}, r"gone\.csv: no such file"),
    ],
)
def test_what_is_no_way_is_said_in_a_line(model: Model, asked: dict[str, Any], line: str) -> None:
    given = {
        k: series.year(v) if k in ("source", "target") and isinstance(v, int) else v for k, v in asked.items()
    }
    with pytest.raises(UsageError, match=line):
        model.sample(1, seed=0, **given)


def test_noise_is_taken_away_and_none_added(model: Model, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"source": series.year(0), "strength": 0.1, "steps": 4}
    first, second = (model.sample(1, seed=seed, denoise=True, **asked)[0] for seed in (0, 1))
    assert np.array_equal(values(first), values(second))  # no seed has a part in it
    assert not np.array_equal(values(first), values(model.sample(1, seed=0, **asked)[0]))
    path = tmp_path / "a.csv"
    model.domain.save(series.year(0), path)
    [made] = model.sample(1, seed=0, denoise=True, **{**asked, "source": str(path)})
    made.save(tmp_path / "b.csv")
    assert replay(tmp_path / "b.csv.json", model).agrees


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({}, "needs a strength below 1"),
        ({"strength": 1.0}, "needs a strength below 1"),
        ({"strength": 0.1, "keep": "1:3"}, "leave keep and redo out"),
    ],
)
def test_noise_that_cannot_be_taken_away(model: Model, asked: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        model.sample(1, seed=0, source=series.year(0), denoise=True, **asked)
