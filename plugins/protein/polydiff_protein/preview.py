"""Pictures of backbones: lines from N (blue) to C (red), helices thick, strands as arrows, three views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polydiff.support.pictures import new_figure, to_png
from polydiff_protein.secondary import HELIX, LOOP, STRAND, secondary_structure
from polydiff_protein.structure import Backbone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_FINE = 16  # pieces of the line a residue
_WIDTHS = {LOOP: 0.7, HELIX: 2.2, STRAND: 2.6}  # Å
_ARROW, _HEAD = 4.6, 1.5  # an arrow's head: Å across its base, residues along it
_MARGIN = 4.0  # Å around the line
_AXES = ((0, 1, 2), (2, 1, 0), (0, 2, 1))
"""Of the axes of the structure, longest first, which go right, up and to the eye in each view."""


class Ribbon(NamedTuple):
    """A line through the Cα atoms: the ends of its steps (steps, 2, 3) in Å, how wide each is drawn in Å,
    and how far along its chain each lies, 0 to 1."""

    steps: Array
    widths: Array
    places: Array


def views(backbone: Backbone) -> bytes:
    """Three views beside each other, as a PNG picture, with a bar of 10 Å."""
    drawn = _turned(ribbon(backbone))
    half, low = _reach(drawn)
    figure = new_figure(9, max(-3 * low / half, 1.2))
    _draw(figure, list(figure.subplots(1, len(_AXES))), [drawn] * len(_AXES), _AXES)
    return to_png(figure)


def contact_sheet(backbones: Sequence[Backbone], titles: Sequence[str]) -> bytes:
    """One view of each, under its title, as a PNG picture."""
    columns = min(len(backbones), 4)
    rows = -(-len(backbones) // columns)
    figure = new_figure(2.8 * columns, 2.4 * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in grid[len(backbones) :]:
        axes.set_axis_off()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, fontsize=8)
    drawn = [_turned(ribbon(backbone)) for backbone in backbones]
    _draw(figure, grid[: len(drawn)], drawn, _AXES[:1] * len(drawn))
    return to_png(figure)


def ribbon(backbone: Backbone) -> Ribbon:
    """The line through each stretch of bonded residues."""
    structure = secondary_structure(backbone)
    lengths = {chain: max(backbone.chains.count(chain) - 1, 1) for chain in backbone.chain_ids}
    firsts = {chain: backbone.chains.index(chain) for chain in backbone.chain_ids}
    parts = []
    for piece in backbone.pieces:
        chain = backbone.chains[piece.start]
        kinds = structure[piece]
        points = _curve(_flattened(backbone.ca[piece].astype(np.float64), kinds))
        middles = (np.arange(len(points) - 1) + 0.5) / _FINE
        steps = np.stack([points[:-1], points[1:]], axis=1)
        places = (middles + piece.start - firsts[chain]) / lengths[chain]
        parts.append(Ribbon(steps, _widths(kinds, middles), places))
    return Ribbon(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _flattened(points: Array, kinds: str) -> Array:
    """Strands without their pleats: inside them each place is the mean of three."""
    flat = points.copy()
    for i in range(1, len(points) - 1):
        if kinds[i] == STRAND:
            flat[i] = (points[i - 1] + 2 * points[i] + points[i + 1]) / 4
    return flat


def _curve(points: Array) -> Array:
    """A smooth line through points, _FINE steps between each two."""
    from scipy.interpolate import make_interp_spline

    if len(points) == 1:
        result: Array = points + np.array([[-0.5, 0, 0], [0.5, 0, 0]])
        return result
    at = np.linspace(0, len(points) - 1, (len(points) - 1) * _FINE + 1)
    return np.asarray(make_interp_spline(np.arange(len(points)), points, k=min(3, len(points) - 1))(at))


def _widths(kinds: str, at: Array) -> Array:
    """What the line is wide at each place, in residues from the first: strands end in arrow heads."""
    nearest = np.clip(np.rint(at).astype(int), 0, len(kinds) - 1)
    widths = np.array([_WIDTHS[kinds[i]] for i in nearest])
    for i, kind in enumerate(kinds):
        if kind == STRAND and kinds[i + 1 : i + 2] != STRAND:
            left = (i + 0.5 - at) / _HEAD  # 1 at the base of the head, 0 at its point
            head = (left >= 0) & (left <= 1)
            widths[head] = np.maximum(_ARROW * left[head], _WIDTHS[LOOP])
    return widths


def _turned(drawn: Ribbon) -> Ribbon:
    """Around its middle, with its longest axis to the right."""
    points = drawn.steps.reshape(-1, 3)
    points = points - points.mean(0)
    _, axes = np.linalg.eigh(points.T @ points)
    axes = axes[:, ::-1]
    axes[:, 2] *= np.sign(np.linalg.det(axes))  # no mirror image
    return drawn._replace(steps=(points @ axes).reshape(-1, 2, 3))


def _draw(
    figure: Figure, grid: Sequence[Axes], drawn: Sequence[Ribbon], views: Sequence[tuple[int, int, int]]
) -> None:
    for axes, line in zip(grid, drawn, strict=True):
        half, low = _reach(line)
        axes.set_xlim(-half, half)
        axes.set_ylim(low, -low)
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.plot([-half + 2, -half + 12], [low + 1] * 2, color="0.3", lw=1.5)
        axes.text(-half + 7, low + 2, "10 Å", ha="center", va="bottom", fontsize=7, color="0.3")
    figure.draw_without_rendering()  # lays the axes out: now an Å has a size
    for axes, line, which in zip(grid, drawn, views, strict=True):
        _paint(axes, line, which, 72 / figure.dpi)


def _reach(drawn: Ribbon) -> tuple[float, float]:
    """To the right, and down, so that every view fits."""
    wide, *others = np.abs(drawn.steps).max((0, 1)) + _MARGIN
    return float(wide), -float(max(others))


def _paint(axes: Axes, drawn: Ribbon, which: tuple[int, int, int], pixel: float) -> None:
    """pixel: points that one is wide."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    sign = 1.0 if which == _AXES[0] else -1.0  # an odd order of axes mirrors: turn the depth round
    steps = drawn.steps[:, :, which] * [1.0, 1.0, sign]
    depth = steps[:, :, 2].mean(1)
    fog = 0.45 * (1 - (depth - depth.min()) / max(np.ptp(depth), 1e-6))[:, None]
    colours = colormaps["turbo"](0.08 + 0.84 * drawn.places)[:, :3]
    order = np.argsort(depth, kind="stable")
    # each step is an edge, and the coloured line over it, which reaches a little over the edges of its
    # neighbours; far ones first, so that near ones lie over them
    lines = np.repeat(steps[order][:, :, :2], 2, axis=0)
    along = lines[1::2, 1] - lines[1::2, 0]
    lines[1::2] += 0.6 * np.stack([-along, along], axis=1)
    shades = np.repeat((colours + (1 - colours) * fog)[order], 2, axis=0)
    shades[::2] *= 0.35
    ends = axes.transData.transform([(0, 0), (1, 0)])
    angstrom = (ends[1, 0] - ends[0, 0]) * pixel  # in points
    widths = np.repeat(drawn.widths[order] * angstrom, 2)
    widths[::2] += 0.9
    axes.add_collection(LineCollection(list(lines), linewidths=widths, colors=shades, capstyle="butt"))
