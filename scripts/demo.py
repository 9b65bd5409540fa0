"""Generates with every shipped audio checkpoint: `make demo`, or `python scripts/demo.py FOLDER`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polydiff

SPEAKERS = ("theo", "jackson")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCALE = {"C4": 60, "D4": 62, "E4": 64, "F4": 65, "G4": 67, "A4": 69, "B4": 71, "C5": 72}


@dataclass(frozen=True)
class Part:
    """What to make with one preset: `conditions` as Model.sample takes them, a file name for each sample."""

    preset: str
    conditions: dict[str, Any]
    names: list[str]


def parts() -> list[Part]:
    """Ten digits by two speakers, one drum hit of each class, a scale on one instrument."""
    spoken = [(digit, speaker) for speaker in SPEAKERS for digit in DIGITS]
    classes = polydiff.load("audio/drums").conditions["class"].choices
    return [
        Part(
            "audio/digits",
            {"digit": [digit for digit, _ in spoken], "speaker": [speaker for _, speaker in spoken]},
            [f"{DIGITS.index(digit)}-{digit}-{speaker}" for digit, speaker in spoken],
        ),
        Part("audio/drums", {"class": list(classes)}, list(classes)),
        Part(
            "audio/notes",
            {"pitch": list(SCALE.values()), "instrument": "piano"},
            [f"{number}-{note}-piano" for number, note in enumerate(SCALE, start=1)],
        ),
    ]


def main(folder: Path) -> None:
    """Write every clip with its provenance, one contact sheet, and a table of what is where."""
    begin = time.perf_counter()
    samples, titles = [], []
    print(f"{'file':42}{'seed':>6}{'length':>9}{'rate':>10}{'peak':>7}{'took':>8}")
    for part in parts():
        start = time.perf_counter()
        stream = polydiff.load(part.preset).stream(seed=0, conditions=part.conditions)
        for name, sample in zip(part.names, stream, strict=True):
            took, start = time.perf_counter() - start, time.perf_counter()
            path = folder / part.preset.rpartition("/")[2] / f"{name}.wav"
            sample.save(path)
            clip = sample.example
            row = f"{path!s:42}{sample.seed:6}{clip.duration:7.2f} s{clip.sample_rate:7} Hz"
            print(f"{row}{clip.peak:7.2f}{took:6.2f} s", flush=True)
            samples.append(sample)
            titles.append(name)
    sheet = folder / "contact.png"
    sheet.write_bytes(samples[0].domain.contact_sheet([sample.example for sample in samples], titles))
    print(f"\n{len(samples)} clips in {time.perf_counter() - begin:.0f} s.")
    print("Beside each FILE lies FILE.json, how it was made: `polydiff replay FILE.json` makes it again.")
    print(f"{sheet} shows the waveform and the spectrogram of each.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
