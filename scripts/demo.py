"""Generates with every shipped audio checkpoint: `make demo`, or `python scripts/demo.py FOLDER`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polydiff

SPEAKERS = ("theo", "jackson")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCALE = {"C4": 60, "D4": 62, "E4": 64, "F4": 65, "G4": 67, "A4": 69, "B4": 71, "C5": 72}


@dataclass(frozen=True)
class Ask:
    """One clip to make: its place under the demo's folder, and the conditions."""

    name: str
    conditions: dict[str, object]


def wanted() -> dict[str, list[Ask]]:
    """What to make with each preset."""
    digits = [
        Ask(f"digits/{number}-{digit}-{speaker}", {"digit": digit, "speaker": speaker})
        for speaker in SPEAKERS
        for number, digit in enumerate(DIGITS)
    ]
    drums = [Ask(f"drums/{name}", {"class": name}) for name in choices("audio/drums", "class")]
    instrument = choices("audio/notes", "instrument")[0]
    notes = [
        Ask(f"notes/{step}-{note}-{instrument}", {"instrument": instrument, "pitch": midi})
        for step, (note, midi) in enumerate(SCALE.items(), start=1)
    ]
    return {"audio/digits": digits, "audio/drums": drums, "audio/notes": notes}


def choices(preset: str, condition: str) -> tuple[str, ...]:
    return polydiff.load(preset).conditions[condition].choices


def main(folder: Path) -> None:
    begin = time.perf_counter()
    samples, titles = [], []
    print(f"{'file':44}{'seconds':>8}{'rate':>8}{'peak':>7}{'seed':>6}{'took':>8}")
    for preset, asks in wanted().items():
        model = polydiff.load(preset)
        for seed, ask in enumerate(asks):
            start = time.perf_counter()
            [sample] = model.sample(seed=seed, conditions=ask.conditions)
            took = time.perf_counter() - start
            path = folder / f"{ask.name}.wav"
            sample.save(path)
            clip = sample.example
            peak = abs(clip.waveform).max()
            print(f"{path!s:44}{clip.duration:8.2f}{clip.sample_rate:8d}{peak:7.2f}{seed:6d}{took:7.2f}s", flush=True)
            samples.append(sample)
            titles.append(path.stem)
    sheet = folder / "contact.png"
    sheet.write_bytes(samples[0].domain.contact_sheet([sample.example for sample in samples], titles))
    print(f"\n{len(samples)} clips, each with FILE.json that tells how it was made (polydiff replay FILE.json)")
    print(f"{sheet}: the waveform and the spectrogram of each")
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
