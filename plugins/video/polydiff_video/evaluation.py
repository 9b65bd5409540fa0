"""How good a set of clips is beside real ones: what `polydiff evaluate video` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from polydiff.dataset import Dataset
from polydiff.domain import Metric
from polydiff.evaluation import scores
from polydiff_video import metrics as m
from polydiff_video.clip import VideoClip
from polydiff_video.judge import Judge
from polydiff_video.prediction import figures_beside_sources

if TYPE_CHECKING:
    from polydiff_video.domain import Video

Array = NDArray[Any]
Better = Literal["lower", "higher"]
_LOOKED_AT = 1500  # real clips that the judge sees: enough for the Fréchet distance, and done in a minute


@dataclass(eq=False)
class Seen:
    """A set of clips as a judge sees it; everything is worked out once, when it is first asked for."""

    data: Dataset
    judge: Judge | None

    @cached_property
    def clips(self) -> list[VideoClip]:
        return self.data.examples()

    @cached_property
    def _answers(self) -> tuple[Array, dict[str, Array]]:
        if self.judge is None:
            return np.stack([m.statistics(clip) for clip in self.clips]), {}
        features, answers = self.judge.see(self.clips)
        return features.numpy(), {task: p.numpy() for task, p in answers.items()}

    @property
    def features(self) -> Array:
        """(n, d): the judge's, or without one the means and deviations of fields."""
        return self._answers[0]

    @cached_property
    def kinds(self) -> Array:
        """Probabilities (n, kinds): of the answers of several tasks together."""
        assert self.judge is not None
        tasks = [self._answers[1][task] for task in self.judge.kinds]
        return reduce(lambda p, q: (p[:, :, None] * q[:, None, :]).reshape(len(p), -1), tasks)

    def accuracy(self, task: str) -> float:
        """How many clips show what was asked of them; nan where nothing was asked."""
        assert self.judge is not None
        choices = self.judge.choices[task]
        right = [
            choices[int(p.argmax())] == str(label)
            for label, p in zip(self.data.labels(task), self._answers[1][task], strict=True)
            if str(label) in choices
        ]
        return float(np.mean(right)) if right else float("nan")

    def constancy(self) -> float:
        """How many frames, each judged alone, show the same body and clothes as their whole clip."""
        assert self.judge is not None
        same = []
        tasks = [task for task in self.judge.choices if task not in self.judge.kinds]
        for i, clip in enumerate(self.clips):
            frames = self.judge.see_frames(clip)
            for task in tasks:
                same.append(frames[task].argmax(1).numpy() == self._answers[1][task][i].argmax())
        return float(np.mean(np.concatenate(same))) if same else float("nan")


def metrics(judge: str) -> dict[str, Metric]:
    """The figures that rank sets of clips, each a function of samples and real clips.

    judge: the name of a shipped judge, or "" for none: then only the distance of simple statistics is there.
    """
    see = _seeing(judge)

    def metric(function: Callable[[Seen, Seen], float], better: Better, text: str) -> Metric:
        return Metric(lambda samples, real: function(see(samples), see(real)), better, text)

    base = "the judge's features" if judge else "means and deviations of fields"
    found = {
        "frechet": metric(
            lambda a, b: scores.frechet_distance(a.features, b.features),
            "lower",
            f"Frechet distance on {base}",
        )
    }
    if not judge:
        return found
    for task in Judge.load(judge).choices:
        text = f"clips whose {task} the judge sees as asked"
        found[f"{task}_accuracy"] = metric(partial(_accuracy, task), "higher", text)
    kinds = " and ".join(Judge.load(judge).kinds)
    found |= {
        "inception": metric(
            lambda a, b: scores.inception_score(a.kinds), "higher", f"how clear {kinds} are, and all there"
        ),
        "conditional_entropy": metric(
            lambda a, b: scores.conditional_entropy(a.kinds), "lower", f"how unclear {kinds} are, in nats"
        ),
        "marginal_entropy": metric(
            lambda a, b: scores.marginal_entropy(a.kinds), "higher", f"how evenly {kinds} occur, in nats"
        ),
        "constancy": metric(
            lambda a, b: a.constancy(), "higher", "frames that show the same character as their clip"
        ),
    }
    return found


def _accuracy(task: str, a: Seen, b: Seen) -> float:
    return a.accuracy(task)


def evaluate(domain: Video, samples: Dataset, reference: Dataset) -> dict[str, float]:
    """All figures of a set of samples beside real clips, which are those that a model was trained on.

    `frechet` and `frechet_floor` are the distances of the samples, and of as many real clips with the same
    labels, to other real clips. `novelty` is the median distance of a sample to the nearest real clip over
    that of real clips to each other: 0 means copies. Where samples kept parts of a source that is there,
    the figures of polydiff_video.prediction compare the frames that were made with the source's own.
    """
    known = metrics(domain.config.judge)
    figures = {name: f(samples, reference) for name, f in known.items() if name != "frechet"}
    left, right = _sides(samples, reference)
    few = Dataset(samples.items[: len(left)])
    figures["frechet"] = known["frechet"](few, right)
    figures["frechet_floor"] = known["frechet"](left, right)
    made = np.stack([m.fingerprint(item.load()) for item in samples])
    real = np.stack([m.fingerprint(item.load()) for item in reference])
    usual = float(np.median(scores.nearest_distances(real, real, same=True))) if len(real) > 1 else 0.0
    figures["novelty"] = float(np.median(scores.nearest_distances(made, real))) / max(usual, 1e-9)
    figures |= figures_beside_sources(domain, samples)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _sides(samples: Dataset, reference: Dataset) -> tuple[Dataset, Dataset]:
    """Real clips to stand for the samples, labelled like them as far as there are such, and others."""
    order = [int(i) for i in np.random.default_rng(0).permutation(len(reference))]
    most = min(len(samples), max(len(reference) // 2, 1))
    names = sorted(
        {n for item in samples for n in item.conditions} & {n for item in reference for n in item.conditions}
    )
    by_label: dict[str, list[int]] = {}
    for i in order:
        by_label.setdefault(_key(reference[i].conditions, names), []).append(i)
    alike = (by_label.get(_key(item.conditions, names)) for item in samples)
    chosen = [rows.pop() for rows in alike if rows][:most]
    taken = set(chosen)
    spare = [i for i in order if i not in taken]
    missing = most - len(chosen)
    left, right = chosen + spare[:missing], spare[missing:] or chosen
    return Dataset(reference[i] for i in left), Dataset(reference[i] for i in right[:_LOOKED_AT])


def _key(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return "|".join(str(row.get(name)) for name in names)


def _seeing(judge: str) -> Callable[[Dataset], Seen]:
    loaded = Judge.load(judge) if judge else None
    known: WeakKeyDictionary[Dataset, Seen] = WeakKeyDictionary()

    def see(data: Dataset) -> Seen:
        if data not in known:
            known[data] = Seen(data, loaded)
        return known[data]

    return see
