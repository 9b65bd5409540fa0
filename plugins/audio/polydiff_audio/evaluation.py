"""How good a set of clips is beside real ones: what `polydiff evaluate audio` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from polydiff.dataset import Dataset
from polydiff.domain import Metric
from polydiff.evaluation import scores
from polydiff_audio import external
from polydiff_audio import metrics as m
from polydiff_audio.clip import AudioClip
from polydiff_audio.judge import Judge
from polydiff_audio.vocabulary import WORDS

Array = NDArray[Any]
Better = Literal["lower", "higher"]
_EMBEDDED = 600  # real clips that are embedded for an outside judge: enough, and done in half a minute


@dataclass(eq=False)
class Heard:
    """A set of clips as a judge hears it; everything is worked out once, when it is first asked for."""

    clips: Sequence[AudioClip]
    labels: Sequence[Mapping[str, Any]]
    judge: Judge | None

    @cached_property
    def _answers(self) -> tuple[Array, dict[str, Array]]:
        if self.judge is None:
            return np.stack([_statistics(clip) for clip in self.clips]), {}
        features, answers = self.judge.hear(self.clips)
        return features.numpy(), {task: p.numpy() for task, p in answers.items()}

    @property
    def features(self) -> Array:
        """(n, d): the judge's, or without one the means and deviations of bands."""
        return self._answers[0]

    @property
    def answers(self) -> dict[str, Array]:
        """Probabilities (n, choices) a task."""
        return self._answers[1]

    @cached_property
    def fingerprints(self) -> Array:
        rate = min(clip.sample_rate for clip in self.clips)
        return np.stack([m.fingerprint(clip, rate) for clip in self.clips])

    def accuracy(self, task: str) -> float | None:
        """How many clips are heard as what they were asked to be; None where nothing was asked."""
        assert self.judge is not None
        choices = self.judge.choices[task]
        asked = [
            (_choice(row.get(task), choices), p)
            for row, p in zip(self.labels, self.answers[task], strict=True)
        ]
        right = [int(p.argmax()) == choice for choice, p in asked if choice is not None]
        return float(np.mean(right)) if right else None

    def part(self, index: Array) -> Heard:
        """Some of the clips."""
        return Heard([self.clips[i] for i in index], [self.labels[i] for i in index], self.judge)


def metrics(judge: str) -> dict[str, Metric]:
    """The figures that rank sets of clips, each a function of samples and real clips.

    judge: the name of a shipped judge, or "" for none: then only the distance of band statistics is there.
    """
    hear = _hearing(judge)

    def metric(function: Callable[[Heard, Heard], float], better: Better, text: str) -> Metric:
        return Metric(lambda samples, real: function(hear(samples), hear(real)), better, text)

    def frechet(a: Heard, b: Heard) -> float:
        return scores.frechet_distance(a.features, b.features)

    base = "the judge's features" if judge else "means and deviations of bands"
    found = {"frechet": metric(frechet, "lower", f"Frechet distance on {base}")}
    if not judge:
        return found
    tasks = list(Judge.load(judge).choices)
    for task in tasks:
        accuracy = partial(_accuracy, task)
        found[f"{task}_accuracy"] = metric(accuracy, "higher", f"clips whose {task} the judge hears as asked")

    def inception(a: Heard, b: Heard) -> float:
        return scores.inception_score(a.answers[tasks[0]])

    def modified(a: Heard, b: Heard) -> float:
        return scores.modified_inception_score(a.answers[tasks[0]])

    def am(a: Heard, b: Heard) -> float:
        return scores.am_score(a.answers[tasks[0]], b.answers[tasks[0]])

    found["inception"] = metric(inception, "higher", f"how clear each {tasks[0]} is, and that all occur")
    found["modified_inception"] = metric(modified, "higher", "the same over pairs of clips")
    found["am"] = metric(am, "lower", f"how unclear each {tasks[0]} is, and how unlike the real ones' shares")
    return found


def _accuracy(task: str, a: Heard, b: Heard) -> float:
    found = a.accuracy(task)
    return float("nan") if found is None else found


def evaluate(
    samples: Dataset, reference: Dataset, judge: str, held_out: Dataset | None = None
) -> dict[str, float]:
    """All figures of a set of samples beside real clips, which are those that a model was trained on.

    `frechet` and `frechet_floor` are the distances of the samples, and of as many real clips, to the same
    other real clips; `novelty` is the median distance to the nearest real clip over that of real clips: well
    below 1 means copies. The real clips stand on both sides of these; where `held_out` has recordings that
    the model never saw, they take the part of real clips on the left side.
    """
    hear = _hearing(judge)
    made, real = hear(samples), hear(reference)
    figures: dict[str, float] = {}
    for name, metric in metrics(judge).items():
        if name != "frechet":
            figures[name] = metric(samples, reference)
    left, right = _sides(made, real, None if held_out is None else hear(held_out))
    few = made.part(np.arange(min(len(left.clips), len(made.clips))))
    figures["frechet"] = scores.frechet_distance(few.features, right.features)
    figures["frechet_floor"] = scores.frechet_distance(left.features, right.features)
    near = np.median(scores.nearest_distances(made.fingerprints, real.fingerprints))
    usual = (
        scores.nearest_distances(real.fingerprints, real.fingerprints, same=True)
        if held_out is None
        else scores.nearest_distances(left.fingerprints, real.fingerprints)
    )
    figures["novelty"] = float(near / max(float(np.median(usual)), 1e-9))
    figures["clipped"] = float(np.mean([m.is_clipped(clip) for clip in made.clips]))
    figures["loop_click"] = float(np.median([m.loop_click(clip) for clip in made.clips]))
    figures |= _pitch_figures(made)
    figures |= _external_figures(made, left, right)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _sides(made: Heard, real: Heard, held_out: Heard | None) -> tuple[Heard, Heard]:
    """Real clips to stand for the samples, labelled like them as far as there are such, and real clips to
    measure both against."""
    if held_out is not None:
        return held_out.part(_alike(made, held_out, len(held_out.clips))), real
    left = _alike(made, real, max(len(real.clips) // 2, 1))
    rest = np.setdiff1d(np.arange(len(real.clips)), left)
    return real.part(left), real.part(rest) if len(rest) else real


def _alike(made: Heard, real: Heard, most: int) -> Array:
    """Places of as many real clips as there are samples, at most `most`, with their labels if possible."""
    order = [int(i) for i in np.random.default_rng(0).permutation(len(real.clips))]
    by_label: dict[str, list[int]] = {}
    names = sorted(
        {name for row in made.labels for name in row} & {name for row in real.labels for name in row}
    )
    for i in order:
        by_label.setdefault(_key(real.labels[i], names), []).append(i)
    chosen = [by_label[key].pop() for row in made.labels if by_label.get(key := _key(row, names))][:most]
    taken = set(chosen)
    spare = [i for i in order if i not in taken]
    return np.asarray(chosen + spare[: min(len(made.clips), most) - len(chosen)])


def _key(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The labels of a clip as one text; a digit is the same as word and as numeral."""
    values = [str(row.get(name)) for name in names]
    return "|".join(WORDS[int(value)] if value in {*"0123456789"} else value for value in values)


def _pitch_figures(made: Heard) -> dict[str, float]:
    """How many notes have the pitch asked for, within half a semitone."""
    asked = [
        (row["pitch"], clip) for row, clip in zip(made.labels, made.clips, strict=True) if row.get("pitch")
    ]
    if not asked:
        return {}
    right = []
    for midi, clip in asked:
        frequency = m.pitch(clip)
        right.append(frequency is not None and abs(69 + 12 * np.log2(frequency / 440) - float(midi)) < 0.5)
    return {"pitch_accuracy": float(np.mean(right))}


def _external_figures(made: Heard, left: Heard, right: Heard) -> dict[str, float]:
    """Figures of judges that are installed beside this plugin, for spoken digits."""
    digits = [_choice(row.get("digit"), WORDS) for row in made.labels]
    if not digits or None in digits:
        return {}
    figures: dict[str, float] = {}
    installed = external.available()
    if "pocketsphinx" in installed:
        heard = external.recognise(made.clips)
        figures["pocketsphinx_accuracy"] = float(
            np.mean(
                [word == WORDS[digit] for word, digit in zip(heard, digits, strict=True) if digit is not None]
            )
        )
    if "openwakeword" in installed:
        base = external.embed(right.clips[:: -(-len(right.clips) // _EMBEDDED)])
        count = min(len(left.clips), len(made.clips))
        figures["openwakeword_frechet"] = scores.frechet_distance(external.embed(made.clips[:count]), base)
        figures["openwakeword_floor"] = scores.frechet_distance(external.embed(left.clips[:count]), base)
    if "speechmos" in installed:
        figures["dnsmos"] = float(external.mos(made.clips).mean())
    return figures


def _hearing(judge: str) -> Callable[[Dataset], Heard]:
    loaded = Judge.load(judge) if judge else None
    known: WeakKeyDictionary[Dataset, Heard] = WeakKeyDictionary()

    def hear(data: Dataset) -> Heard:
        if data not in known:
            known[data] = Heard(data.examples(), [item.conditions for item in data], loaded)
        return known[data]

    return hear


def _statistics(clip: AudioClip) -> Array:
    x = m.spectrogram(clip)
    x = x - x.max()
    return np.concatenate([x.mean(1), x.std(1)])


def _choice(value: Any, choices: Sequence[str]) -> int | None:
    """The place of a label among the choices; digits are also known by their numerals."""
    if isinstance(value, Mapping):
        return None  # a mixture has no right answer
    if str(value) in choices:
        return list(choices).index(str(value))
    return int(value) if str(value).isdigit() and tuple(choices) == WORDS and int(value) < 10 else None
