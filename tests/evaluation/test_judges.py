"""Judges and evaluated sets, on numbers: trained, saved, loaded, asked; caches that forget."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from polydiff.dataset import Dataset
from polydiff.errors import UsageError
from polydiff.evaluation.evaluated_set import EvaluatedSet, EvaluatedSets, judge_metrics, real_sides
from polydiff.evaluation.judge_training import JudgeTraining, drawn, in_rounds, train_judge
from polydiff.evaluation.judges import JudgeKind


class Small(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.body = nn.Linear(2, 8)
        self.heads = nn.ModuleDict({name: nn.Linear(8, count) for name, count in tasks.items()})

    def features(self, x):
        return torch.tanh(self.body(x))

    def forward(self, x, dropout=0.0):
        return {name: head(self.features(x)) for name, head in self.heads.items()}


def inputs(example, facts):
    return torch.tensor(example, dtype=torch.float32) * facts.get("scale", 1.0)


@pytest.fixture
def kind(tmp_path):
    return JudgeKind(tmp_path / "shipped", Small, inputs, batch_size=7)


def points(count=120, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, 2))
    labels = {
        "side": ["right" if a > 0 else "left" for a, _ in x],
        "height": ["high" if b > 0 else "low" for _, b in x],
    }
    return list(x), labels


def trained(kind, batches, steps):
    x, labels = points()

    def changed(examples, random):
        return (torch.tensor(np.array(examples) + random.normal(0, 0.05, (len(examples), 2))).float(),)

    return train_judge(
        kind,
        [lambda a=a: a for a in x],
        labels,
        {"side": ("left", "right"), "height": ("high", "low")},
        changed,
        batches,
        steps,
        JudgeTraining(rate=0.1, weight_decay=0.0, dropout=0.0, smoothing=0.05, sharpened_on=100),
        {"scale": 1.0},
    )


@pytest.mark.parametrize("batches", [drawn(120, 20, 90), in_rounds(120, 20, 15)])
def test_a_judge_learns_every_task_and_is_the_same_from_disk(kind, tmp_path, batches):
    judge = trained(kind, batches, 90)
    fresh, true = points(400, seed=1)
    accuracy = judge.accuracy(fresh, true)
    assert accuracy.keys() == {"side", "height"}
    assert min(accuracy.values()) > 0.93
    judge.save(tmp_path / "mine")
    again = kind.load(tmp_path / "mine")
    assert (again.choices, again.facts) == (judge.choices, {"scale": 1.0})
    for task, p in again.assess(fresh)[1].items():
        assert torch.allclose(p, judge.assess(fresh)[1][task], atol=2e-2)  # weights are kept in 16 bits


def test_no_judge_is_said_with_those_that_ship(kind, tmp_path):
    kind.new({"side": ("left", "right")}).save(kind.folder / "sides")
    assert kind.load("sides").choices == {"side": ("left", "right")}
    with pytest.raises(UsageError, match=r"no judge there.*Shipped judges: sides"):
        kind.load(tmp_path / "none")


def test_a_judge_of_one_task_may_list_its_choices_alone(tmp_path):
    kind = JudgeKind(tmp_path, Small, inputs, only_task="side")
    kind.new({"side": ("left", "right")}).save(tmp_path / "one")
    about = json.loads((tmp_path / "one" / "judge.json").read_text())
    about["choices"] = about["choices"]["side"]
    (tmp_path / "one" / "judge.json").write_text(json.dumps(about))
    assert kind.load("one").choices == {"side": ("left", "right")}


def test_each_example_occurs_once_a_round():
    index = np.concatenate(list(in_rounds(12, 4, 3)(np.random.default_rng(0))))
    assert np.bincount(index).tolist() == [3] * 12


def test_sets_are_judged_once_and_forgotten_with_their_data(kind):
    judge = trained(kind, drawn(120, 20, 60), 60)
    x, labels = points(60, seed=2)
    rows = [dict(zip(labels, row, strict=True)) for row in zip(*labels.values(), strict=True)]
    data, other = Dataset.of(x, rows), Dataset.of(points(60, seed=3)[0])
    made = []

    def make(d):
        made.append(d)
        return EvaluatedSet(d, judge)

    sets = EvaluatedSets(make)
    found = judge_metrics(sets, judge, "those whose {} is right", "")
    assert found["side_accuracy"](data, other) > 0.9
    assert np.isnan(found["side_accuracy"](other, data))  # nothing was asked
    assert found["frechet"](data, data) == pytest.approx(0, abs=1e-6)
    assert found["frechet"](data, other) > 0
    assert len(made) == 2
    made.clear()
    gone = weakref.ref(data)
    del data
    gc.collect()
    assert gone() is None


def test_labels_may_be_spelt_in_two_ways(kind):
    judge = trained(kind, drawn(120, 20, 60), 60)
    data = Dataset.of([np.array([2.0, 0.0])], [{"side": "R"}])
    assert np.isnan(EvaluatedSet(data, judge).accuracy("side"))
    assert EvaluatedSet(data, judge, spell={"R": "right"}.get).accuracy("side") == 1


def test_real_examples_beside_samples_have_their_labels():
    real = Dataset.of(range(40), [{"kind": "ab"[i % 2]} for i in range(40)])
    samples = Dataset.of(range(6), [{"kind": "a"}] * 6)
    left, right = real_sides(samples, real)
    assert [item.conditions["kind"] for item in left] == ["a"] * 6
    assert len(right) == 34
    assert not {item.load() for item in left} & {item.load() for item in right}
    assert len(real_sides(samples, real, most=10)[1]) == 10
