"""Generates with every shipped checkpoint: `make demo`, or `python scripts/demo.py FOLDER`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import polydiff

SPEAKERS = ("theo", "jackson")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCALE = {"C4": 60, "D4": 62, "E4": 64, "F4": 65, "G4": 67, "A4": 69, "B4": 71, "C5": 72}
ACTIONS = ("walk", "spellcast", "slash")
DIRECTIONS = ("left", "front", "right")
CHARACTER = {"body": "4", "bottom": "0", "top": "3", "hair": "2"}  # one that no model has seen
TESTS = Path(__file__).parents[1] / "tests"
REAL = TESTS / "video" / "data"  # clips of the same character
PROTEIN = TESTS / "protein" / "data" / "1igd.pdb"  # protein G's domain: a helix on four strands
CHAIR = TESTS / "pointcloud" / "data" / "chair.ply"  # one that no model has seen
SHAPES = ("chair", "table", "sofa", "building", "tree", "car")


@dataclass(frozen=True)
class Part:
    """What to make with one preset: `conditions` and `options` as Model.sample takes them, a file name for
    each sample, a real example to show above the samples, and whether to lay a surface through the first."""

    preset: str
    names: list[str]
    conditions: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    truth: Path | None = None
    mesh: bool = False


def parts() -> list[Part]:
    """Ten digits by two speakers, one drum hit of each class, a scale on one instrument; nine actions of a
    new character; one clip filled in between two frames and one predicted, beside what was there; a shape of
    each of six categories, and half a chair completed; backbones of three lengths, one around the helix of a
    real protein, and a ring of three."""
    spoken = [(digit, speaker) for speaker in SPEAKERS for digit in DIGITS]
    classes = polydiff.load("audio/drums").conditions["class"].choices
    moves = [(action, direction) for action in ACTIONS for direction in DIRECTIONS]
    walk, slash = REAL / "walk_right_4032.gif", REAL / "slash_left_4032.gif"
    return [
        Part(
            "audio/digits",
            [f"{DIGITS.index(digit)}-{digit}-{speaker}" for digit, speaker in spoken],
            {"digit": [digit for digit, _ in spoken], "speaker": [speaker for _, speaker in spoken]},
        ),
        Part("audio/drums", list(classes), {"class": list(classes)}),
        Part(
            "audio/notes",
            [f"{number}-{note}-piano" for number, note in enumerate(SCALE, start=1)],
            {"pitch": list(SCALE.values()), "instrument": "piano"},
        ),
        Part(
            "video/sprites",
            [f"{action}-{direction}" for action, direction in moves],
            {"action": [a for a, _ in moves], "direction": [d for _, d in moves], **CHARACTER},
            {"snap": True},
        ),
        Part("video/sprites", ["between-0-and-7"], {}, {"source": walk, "keep": "0,7", "snap": True}, walk),
        Part(
            "video/sprites", ["predicted-from-0-3"], {}, {"source": slash, "keep": "0:4", "snap": True}, slash
        ),
        Part("pointcloud/objects", list(SHAPES), {"category": list(SHAPES)}, mesh=True),
        Part(
            "pointcloud/objects",
            ["right-half-completed"],
            {"category": "chair"},
            {"source": CHAIR, "redo": "x>0"},
            CHAIR,
        ),
        *(Part("protein/domains", [f"{n}-residues"], {}, {"length": str(n)}) for n in (60, 90, 120)),
        Part(
            "protein/domains",
            ["helix-scaffolded"],
            {},
            {"source": PROTEIN, "contigs": "20-30/A28-41/20-30"},
            PROTEIN,
        ),
        Part("protein/domains", ["ring-of-three"], {}, {"length": "60", "symmetry": "C3"}),
    ]


def surface(cloud: Any, path: Path) -> None:
    """Write a mesh through the points of a cloud."""
    from polydiff_pointcloud.surface import mesh_of

    mesh = mesh_of(cloud)
    mesh.export(path)
    print(f"{path!s:46}{'':15}{len(mesh.faces)} faces, watertight: {mesh.is_watertight}", flush=True)


def main(folder: Path) -> None:
    """Write every sample with its provenance, one contact sheet a domain, and a table of what is where."""
    begin = time.perf_counter()
    count = 0
    print(f"{'file':46}{'seed':>5}{'took':>8}  what")
    for domain, its_parts in groupby(parts(), lambda part: part.preset.partition("/")[0]):
        examples, titles = [], []
        for part in its_parts:
            start = time.perf_counter()
            model = polydiff.load(part.preset)
            if part.truth:
                examples.append(model.domain.load(part.truth))
                titles.append("real")
            stream = model.stream(seed=0, conditions=part.conditions, **part.options)
            for name, sample in zip(part.names, stream, strict=True):
                took, start = time.perf_counter() - start, time.perf_counter()
                path = folder / part.preset.rpartition("/")[2] / f"{name}{model.domain.suffixes[0]}"
                sample.save(path)
                print(f"{path!s:46}{sample.seed:5}{took:6.2f} s  {sample.example!r}", flush=True)
                examples.append(sample.example)
                titles.append(name)
                count += 1
                if part.mesh and name == part.names[0]:
                    surface(sample.example, path.with_suffix(".mesh.glb"))
        sheet = folder / f"{domain}.png"
        sheet.write_bytes(model.domain.contact_sheet(examples, titles))
        print(f"{sheet!s:46}{'':15}a picture of all of them")
    print(f"\n{count} samples in {time.perf_counter() - begin:.0f} s.")
    print("Beside each FILE lies FILE.json, how it was made: `polydiff replay FILE.json` makes it again.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
