"""How good a set of clips is beside real ones: what `polydiff evaluate video` prints."""

from __future__ import annotations

from functools import cached_property, reduce

import numpy as np

from polydiff.dataset import Dataset
from polydiff.domain import Metric
from polydiff.evaluation import scores
from polydiff.evaluation.evaluated_set import Array, EvaluatedSet, EvaluatedSets, judge_metrics, real_sides
from polydiff_video import metrics as m
from polydiff_video.judge import KIND, assess_frames, kinds_of
from polydiff_video.prediction import KeepsFrames, figures_beside_sources

_LOOKED_AT = 1500  # real clips that the judge sees: enough for the Fréchet distance, and done in a minute


class Seen(EvaluatedSet):
    """A set of clips as a judge sees it."""

    @cached_property
    def kinds(self) -> Array:
        """Probabilities (n, kinds): of the answers of several tasks together."""
        assert self.judge is not None
        tasks = [self.answers[task] for task in kinds_of(self.judge)]
        return reduce(lambda p, q: (p[:, :, None] * q[:, None, :]).reshape(len(p), -1), tasks)

    def constancy(self) -> float:
        """How many frames, each judged alone, show the same body and clothes as their whole clip."""
        assert self.judge is not None
        same = []
        tasks = [task for task in self.judge.choices if task not in kinds_of(self.judge)]
        for i, clip in enumerate(self.examples):
            frames = assess_frames(self.judge, clip)
            for task in tasks:
                same.append(frames[task].argmax(1).numpy() == self.answers[task][i].argmax())
        return float(np.mean(np.concatenate(same))) if same else float("nan")


def metrics(judge: str) -> dict[str, Metric]:
    """The figures that rank sets of clips, each a function of samples and real clips.

    judge: the name of a shipped judge, or "" for none: then only the distance of simple statistics is there.
    """
    loaded = KIND.load(judge) if judge else None
    see = EvaluatedSets(lambda data: Seen(data, loaded, m.statistics))
    found = judge_metrics(
        see, loaded, "clips whose {} the judge sees as asked", "means and deviations of fields"
    )
    if loaded is None:
        return found
    kinds = " and ".join(kinds_of(loaded))
    return found | {
        "inception": see.metric(
            lambda a, b: scores.inception_score(a.kinds), "higher", f"how clear {kinds} are, and all there"
        ),
        "conditional_entropy": see.metric(
            lambda a, b: scores.conditional_entropy(a.kinds), "lower", f"how unclear {kinds} are, in nats"
        ),
        "marginal_entropy": see.metric(
            lambda a, b: scores.marginal_entropy(a.kinds), "higher", f"how evenly {kinds} occur, in nats"
        ),
        "constancy": see.metric(
            lambda a, b: a.constancy(), "higher", "frames that show the same character as their clip"
        ),
    }


def evaluate(domain: KeepsFrames, samples: Dataset, reference: Dataset) -> dict[str, float]:
    """All figures of a set of samples beside real clips, which are those that a model was trained on.

    `frechet` and `frechet_floor` are the distances of the samples, and of as many real clips with the same
    labels, to other real clips. `novelty` is the median distance of a sample to the nearest real clip over
    that of real clips to each other: 0 means copies. Where samples kept parts of a source that is there,
    the figures of polydiff_video.prediction compare the frames that were made with the source's own.
    """
    known = metrics(domain.config.judge)
    figures = {name: f(samples, reference) for name, f in known.items() if name != "frechet"}
    left, right = real_sides(samples, reference, most=_LOOKED_AT)
    few = Dataset(samples.items[: len(left)])
    figures["frechet"] = known["frechet"](few, right)
    figures["frechet_floor"] = known["frechet"](left, right)
    made = np.stack([m.fingerprint(item.load()) for item in samples])
    real = np.stack([m.fingerprint(item.load()) for item in reference])
    usual = float(np.median(scores.nearest_distances(real, real, same=True))) if len(real) > 1 else 0.0
    figures["novelty"] = float(np.median(scores.nearest_distances(made, real))) / max(usual, 1e-9)
    figures |= figures_beside_sources(domain, samples)
    return {name: value for name, value in figures.items() if np.isfinite(value)}
