"""Sets of examples with what was found out about them, and the metrics that compare two sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from polydiff.dataset import Dataset
from polydiff.domain import Metric
from polydiff.evaluation import scores
from polydiff.evaluation.judges import Judge

__all__ = ["EvaluatedSet", "EvaluatedSets", "judge_metrics", "like_samples", "real_sides"]

Array = NDArray[Any]
Better = Literal["lower", "higher"]


class EvaluatedSet:
    """A set of examples; everything is worked out once, when it is first asked for. A domain adds figures
    of its own as cached properties of a subclass.

    Args:
        judge: whose features and answers are used.
        statistics: the features (d,) of an example where there is no judge.
        spell: another spelling of a label, for one that is not among the choices of the judge.
    """

    def __init__(
        self,
        data: Dataset,
        judge: Judge | None = None,
        statistics: Callable[[Any], Array] | None = None,
        spell: Callable[[str], str] = str,
    ) -> None:
        self.data = Dataset(data.items)  # not the dataset itself, which a cache must be able to forget
        self.judge, self.statistics, self.spell = judge, statistics, spell

    @cached_property
    def examples(self) -> list[Any]:
        return self.data.examples()

    @cached_property
    def _judged(self) -> tuple[Array, dict[str, Array]]:
        if self.judge is None:
            assert self.statistics is not None, "neither a judge nor statistics"
            return np.stack([self.statistics(example) for example in self.examples]), {}
        features, answers = self.judge.assess(self.examples)
        return features.numpy(), {task: p.numpy() for task, p in answers.items()}

    @property
    def features(self) -> Array:
        """(n, d): the judge's, or the statistics."""
        return self._judged[0]

    @property
    def answers(self) -> dict[str, Array]:
        """The judge's probabilities (n, choices) a task."""
        return self._judged[1]

    def accuracy(self, task: str) -> float:
        """The share of examples that the judge takes for what their label says; nan where no label is among
        its choices."""
        assert self.judge is not None
        choices = self.judge.choices[task]
        right = [
            choices[int(p.argmax())] == name
            for label, p in zip(self.data.labels(task), self.answers[task], strict=True)
            if (name := str(label) if str(label) in choices else self.spell(str(label))) in choices
        ]
        return float(np.mean(right)) if right else float("nan")


S = TypeVar("S", bound=EvaluatedSet)


class EvaluatedSets(Generic[S]):
    """Datasets as evaluated sets, each made once and forgotten with its dataset."""

    def __init__(self, make: Callable[[Dataset], S]) -> None:
        self._make = make
        self._known: WeakKeyDictionary[Dataset, S] = WeakKeyDictionary()

    def __call__(self, data: Dataset) -> S:
        if data not in self._known:
            self._known[data] = self._make(data)
        return self._known[data]

    def metric(self, figure: Callable[[S, S], float], better: Better, text: str) -> Metric:
        """A figure of samples and real examples as a Metric."""
        return Metric(lambda samples, real: figure(self(samples), self(real)), better, text)


def judge_metrics(sets: EvaluatedSets[S], judge: Judge | None, seen: str, base: str) -> dict[str, Metric]:
    """The Fréchet distance, and the accuracy of each task that the judge knows.

    seen: "clips whose {} the judge hears as asked". base: what the features are where there is no judge.
    """
    base = base if judge is None else "the judge's features"
    found = {
        "frechet": sets.metric(
            lambda a, b: scores.frechet_distance(a.features, b.features),
            "lower",
            f"Frechet distance on {base}",
        )
    }
    for task in judge.choices if judge else ():
        found[f"{task}_accuracy"] = sets.metric(_accuracy_of(task), "higher", seen.format(task))
    return found


def _accuracy_of(task: str) -> Callable[[EvaluatedSet, EvaluatedSet], float]:
    return lambda samples, _: samples.accuracy(task)


def real_sides(
    samples: Dataset, reference: Dataset, spell: Callable[[str], str] = str, most: int | None = None
) -> tuple[Dataset, Dataset]:
    """Real examples to stand for the samples, labelled like them as far as there are such, and others, at
    most `most`, to measure both against."""
    left = like_samples(samples, reference, max(len(reference) // 2, 1), spell)
    taken = set(left)
    order = np.random.default_rng(0).permutation(len(reference)).tolist()
    rest = sorted([i for i in order if i not in taken][:most]) or left
    return Dataset(reference[i] for i in left), Dataset(reference[i] for i in rest)


def like_samples(
    samples: Dataset, reference: Dataset, most: int, spell: Callable[[str], str] = str
) -> list[int]:
    """Places of as many real examples as there are samples, at most `most`, with their labels if possible."""
    order = [int(i) for i in np.random.default_rng(0).permutation(len(reference))]
    asked = {name for item in samples for name in item.conditions}
    names = sorted(asked & {name for item in reference for name in item.conditions})
    by_label: dict[str, list[int]] = {}
    for i in order:
        by_label.setdefault(_key(reference[i].conditions, names, spell), []).append(i)
    alike = (by_label.get(_key(item.conditions, names, spell)) for item in samples)
    chosen = [places.pop() for places in alike if places][:most]
    taken = set(chosen)
    spare = [i for i in order if i not in taken]
    return chosen + spare[: min(len(samples), most) - len(chosen)]


def _key(labels: Mapping[str, Any], names: Sequence[str], spell: Callable[[str], str]) -> str:
    return "|".join(spell(str(labels.get(name))) for name in names)
