"""Draws docs/images/domains.png, which opens the README: samples of the shipped models of all four domains.

python scripts/domains_picture.py            two minutes of one core
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import polydiff
from polydiff_audio.metrics import spectrogram
from polydiff_protein.preview import Ribbon, ribbon

Array = NDArray[np.float64]

PAPER, INK, QUIET = "#0d1117", "#e6edf3", "#8b949e"
LIGHT = np.array([0.45, 0.75, 0.5]) / np.linalg.norm([0.45, 0.75, 0.5])
SPOKEN = (("audio/digits", {"digit": "seven", "speaker": "theo"}, "“seven”"),
          ("audio/drums", {"class": "snare"}, "snare"),
          ("audio/notes", {"pitch": 60, "instrument": "piano"}, "piano, C4"))  # fmt: skip
MOVES = (("walk", "right"), ("spellcast", "front"), ("slash", "left"))
SHAPES = (("chair", "#f2a65a"), ("table", "#7cc6a4"), ("car", "#6aa9ff"), ("sofa", "#e07a9b"))
LENGTHS = ("64", "96")
FRAMES = 8  # of each film


def one(ref: str, conditions: Mapping[str, Any], seed: int, **options: Any) -> Any:
    return polydiff.load(ref).sample(1, seed=seed, conditions=conditions, **options)[0].example


def main(path: Path) -> None:
    """Sample, draw and write the picture."""
    figure = Figure(figsize=(16, 9.4), facecolor=PAPER)
    FigureCanvasAgg(figure)
    left, right, top, bottom = 0.025, 0.525, 0.53, 0.03
    places = {"audio": (left, top), "video": (right, top)}
    places |= {"point clouds": (left, bottom), "proteins": (right, bottom)}
    for title, (x, y) in places.items():
        figure.text(x, y + 0.43, title, color=INK, fontsize=19, weight="bold", va="center")
    audio(figure, left, top)
    video(figure, right, top)
    clouds(figure, left, bottom)
    proteins(figure, right, bottom)
    figure.savefig(path, dpi=100, facecolor=PAPER)


def bare(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(box)
    axes.set_axis_off()
    return axes


def audio(figure: Figure, x: float, y: float) -> None:
    """A waveform over its spectrogram, for a clip of each model."""
    width, gap = 0.142, 0.012
    for number, (ref, conditions, name) in enumerate(SPOKEN):
        clip = one(ref, conditions, seed=number)
        at = x + number * (width + gap)
        wave = bare(figure, (at, y + 0.255, width, 0.12))
        mono = clip.waveform.mean(0)
        step = max(len(mono) // 700, 1)
        parts = mono[: len(mono) // step * step].reshape(-1, step) / np.abs(mono).max()
        wave.fill_between(range(len(parts)), parts.min(1), parts.max(1), color="#ffb454", linewidth=0.3)
        wave.set_xlim(0, len(parts))
        wave.set_ylim(-1.05, 1.05)
        below = bare(figure, (at, y, width, 0.24))
        below.imshow(
            spectrogram(clip), origin="lower", aspect="auto", cmap="inferno", interpolation="bicubic"
        )
        wave.set_title(name, color=QUIET, fontsize=13, loc="left", pad=4)


def video(figure: Figure, x: float, y: float) -> None:
    """A film in a row, frame by frame."""
    width, height = 0.45 / FRAMES, 0.118
    for row, (action, direction) in enumerate(MOVES):
        film = one("video/sprites", {"action": action, "direction": direction}, seed=row + 3, snap=True)
        frames = film.frames[np.linspace(0, len(film.frames) - 1, FRAMES).astype(int)]
        for number, frame in enumerate(frames):
            at = (x + number * width, y + 0.26 - row * 0.13, width * 0.94, height)
            bare(figure, at).imshow(frame, interpolation="nearest")


def clouds(figure: Figure, x: float, y: float) -> None:
    """Each cloud as lit discs, near ones over far ones."""
    width = 0.45 / 2
    for number, (category, colour) in enumerate(SHAPES):
        cloud = one("pointcloud/objects", {"category": category}, seed=number, points=4096)
        axes = bare(figure, (x + number % 2 * width, y + 0.2 - number // 2 * 0.2, width, 0.2))
        points = turned(cloud.points.astype(np.float64), 35, 22)
        points -= (points.max(0) + points.min(0)) / 2
        shade = lit(points) * (0.72 + 0.28 * depth_of(points[:, 2]))
        order = np.argsort(points[:, 2])
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        axes.scatter(*points[order, :2].T, s=9, linewidths=0, c=np.clip(shade[:, None] * rgb, 0, 1)[order])
        axes.set_aspect("equal")


def turned(points: Array, turn: float, down: float) -> Array:
    """To the right, up and towards the eye."""
    a, b = np.radians((turn, down))
    across = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    over = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray(points @ across.T @ over.T)


def lit(points: Array) -> Array:
    """How bright each point is: its normal, of the plane through its neighbours, against the light."""
    near = points[cKDTree(points).query(points, k=24)[1]]
    apart = near - near.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", apart, apart))[1][:, :, 0]
    normals *= np.where(normals[:, 2:] < 0, -1, 1)  # towards the eye
    return np.asarray(0.35 + 0.75 * np.clip(normals @ LIGHT, 0, 1))


def depth_of(z: Array) -> Array:
    """0 far, 1 near."""
    return np.asarray((z - z.min()) / max(float(np.ptp(z)), 1e-9))


def proteins(figure: Figure, x: float, y: float) -> None:
    """Ribbons, all on one scale, blue at the N end and red at the C end."""
    width = 0.45 / len(LENGTHS)
    for number, length in enumerate(LENGTHS):
        drawn = ribbon(one("protein/domains", {}, seed=number, length=length))
        axes = bare(figure, (x + number * width, y, width, 0.39))
        paint(axes, drawn, figure)
        axes.set_title(f"{length} residues", color=QUIET, fontsize=13, y=-0.02)


def paint(axes: Axes, drawn: Ribbon, figure: Figure) -> None:
    points = drawn.steps.reshape(-1, 3) - drawn.steps.reshape(-1, 3).mean(0)
    turn = np.linalg.eigh(points.T @ points)[1][:, [1, 2, 0]]  # the longest axis upwards
    turn[:, 2] *= np.sign(np.linalg.det(turn))
    steps = (points @ turn).reshape(-1, 2, 3)
    axes.set_xlim(-22, 22)
    axes.set_ylim(-22, 22)
    axes.set_aspect("equal")
    figure.draw_without_rendering()
    ends = axes.transData.transform([(0, 0), (1, 0)])
    angstrom = (ends[1, 0] - ends[0, 0]) * 72 / figure.dpi
    depth = steps[:, :, 2].mean(1)
    order = np.argsort(depth, kind="stable")
    fog = (0.4 + 0.6 * depth_of(depth))[:, None]
    colours = colormaps["turbo"](0.1 + 0.8 * drawn.places)[:, :3] * fog
    lines = np.repeat(steps[order][:, :, :2], 2, axis=0)
    along = lines[1::2, 1] - lines[1::2, 0]
    lines[1::2] += 0.6 * np.stack([-along, along], axis=1)
    shades = np.repeat(colours[order], 2, axis=0)
    shades[::2] *= 0.25
    widths = np.repeat(drawn.widths[order] * angstrom, 2)
    widths[::2] += 1.2
    axes.add_collection(LineCollection(list(lines), linewidths=widths, colors=shades, capstyle="butt"))


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    default = Path(__file__).parents[1] / "docs" / "images" / "domains.png"
    main(Path(arguments[0]) if arguments else default)
