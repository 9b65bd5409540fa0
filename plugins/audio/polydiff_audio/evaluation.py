"""How good a set of clips is beside real ones: what `polydiff evaluate audio` prints."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from polydiff.dataset import Dataset
from polydiff.domain import Metric
from polydiff.evaluation import scores
from polydiff.evaluation.evaluated_set import (
    Array,
    EvaluatedSet,
    EvaluatedSets,
    judge_metrics,
    like_samples,
    real_sides,
)
from polydiff.evaluation.judges import Judge
from polydiff_audio import external
from polydiff_audio import metrics as m
from polydiff_audio.clip import AudioClip
from polydiff_audio.judge import KIND
from polydiff_audio.vocabulary import WORDS

_EMBEDDED = 600  # real clips that are embedded for an outside judge: enough, and done in half a minute


class Heard(EvaluatedSet):
    """A set of clips as a judge hears it."""

    @cached_property
    def fingerprints(self) -> Array:
        rate = min(clip.sample_rate for clip in self.examples)
        return np.stack([m.fingerprint(clip, rate) for clip in self.examples])


def heard_by(judge: str) -> EvaluatedSets[Heard]:
    """Sets of clips as a judge hears them; "" is none, and then band statistics are the features."""
    loaded = KIND.load(judge) if judge else None
    return EvaluatedSets(lambda data: Heard(data, loaded, _statistics, _as_word))


def metrics(judge: str) -> dict[str, Metric]:
    """The figures that rank sets of clips, each a function of samples and real clips.

    judge: the name of a shipped judge, or "" for none: then only the distance of band statistics is there.
    """
    return _metrics(heard_by(judge), KIND.load(judge) if judge else None)


def _metrics(hear: EvaluatedSets[Heard], judge: Judge | None) -> dict[str, Metric]:
    found = judge_metrics(
        hear, judge, "clips whose {} the judge hears as asked", "means and deviations of bands"
    )
    if judge is None:
        return found
    task = next(iter(judge.choices))
    found["inception"] = hear.metric(
        lambda a, b: scores.inception_score(a.answers[task]),
        "higher",
        f"how clear each {task} is, and that all occur",
    )
    found["modified_inception"] = hear.metric(
        lambda a, b: scores.modified_inception_score(a.answers[task]),
        "higher",
        "the same over pairs of clips",
    )
    found["am"] = hear.metric(
        lambda a, b: scores.am_score(a.answers[task], b.answers[task]),
        "lower",
        f"how unclear each {task} is, and how unlike the real ones' shares",
    )
    return found


def evaluate(
    samples: Dataset, reference: Dataset, judge: str, held_out: Dataset | None = None
) -> dict[str, float]:
    """All figures of a set of samples beside real clips, which are those that a model was trained on.

    `frechet` and `frechet_floor` are the distances of the samples, and of as many real clips, to the same
    other real clips; `novelty` is the median distance to the nearest real clip over that of real clips: well
    below 1 means copies. The real clips stand on both sides of these; where `held_out` has recordings that
    the model never saw, they take the part of real clips on the left side.
    """
    hear = heard_by(judge)
    made, real = hear(samples), hear(reference)
    figures: dict[str, float] = {}
    for name, metric in _metrics(hear, made.judge).items():
        if name != "frechet":
            figures[name] = metric(samples, reference)
    if held_out is None:
        left, right = (hear(side) for side in real_sides(samples, reference, _as_word))
    else:
        alike = like_samples(samples, held_out, len(held_out), _as_word)
        left, right = hear(Dataset(held_out[i] for i in alike)), real
    few = hear(Dataset(samples.items[: len(left.data)]))
    figures["frechet"] = scores.frechet_distance(few.features, right.features)
    figures["frechet_floor"] = scores.frechet_distance(left.features, right.features)
    near = np.median(scores.nearest_distances(made.fingerprints, real.fingerprints))
    usual = (
        scores.nearest_distances(real.fingerprints, real.fingerprints, same=True)
        if held_out is None
        else scores.nearest_distances(left.fingerprints, real.fingerprints)
    )
    figures["novelty"] = float(near / max(float(np.median(usual)), 1e-9))
    figures["clipped"] = float(np.mean([m.is_clipped(clip) for clip in made.examples]))
    figures["loop_click"] = float(np.median([m.loop_click(clip) for clip in made.examples]))
    figures |= _pitch_figures(made)
    figures |= _external_figures(made, left, right)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _pitch_figures(made: Heard) -> dict[str, float]:
    """How many notes have the pitch asked for, within half a semitone."""
    asked = [(item.conditions["pitch"], item.load()) for item in made.data if item.conditions.get("pitch")]
    if not asked:
        return {}
    right = []
    for midi, clip in asked:
        frequency = m.pitch(clip)
        right.append(frequency is not None and abs(69 + 12 * np.log2(frequency / 440) - float(midi)) < 0.5)
    return {"pitch_accuracy": float(np.mean(right))}


def _external_figures(made: Heard, left: Heard, right: Heard) -> dict[str, float]:
    """Figures of judges that are installed beside this plugin, for spoken digits."""
    digits = [_choice(item.conditions.get("digit")) for item in made.data]
    if not digits or None in digits:
        return {}
    figures: dict[str, float] = {}
    installed = external.available()
    if "pocketsphinx" in installed:
        heard = external.recognise(made.examples)
        figures["pocketsphinx_accuracy"] = float(
            np.mean(
                [word == WORDS[digit] for word, digit in zip(heard, digits, strict=True) if digit is not None]
            )
        )
    if "openwakeword" in installed:
        base = external.embed(right.examples[:: -(-len(right.examples) // _EMBEDDED)])
        count = min(len(left.examples), len(made.examples))
        figures["openwakeword_frechet"] = scores.frechet_distance(external.embed(made.examples[:count]), base)
        figures["openwakeword_floor"] = scores.frechet_distance(external.embed(left.examples[:count]), base)
    if "speechmos" in installed:
        figures["dnsmos"] = float(external.mos(made.examples).mean())
    return figures


def _statistics(clip: AudioClip) -> Array:
    x = m.spectrogram(clip)
    x = x - x.max()
    return np.concatenate([x.mean(1), x.std(1)])


def _as_word(label: str) -> str:
    """A digit is the same as word and as numeral."""
    return WORDS[int(label)] if label in {*"0123456789"} else label


def _choice(label: Any) -> int | None:
    """The digit that a label names."""
    word = _as_word(str(label))
    return WORDS.index(word) if word in WORDS else None
