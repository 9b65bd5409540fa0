"""Pictures of clouds: each point a disc, the nearer the brighter, in four views."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame

SIDE = 200  # pixels of a view
_SMALL, _TITLE, _GAP = 150, 16, 12
VIEWS = ((30.0, 20.0), (0.0, 0.0), (90.0, 0.0), (0.0, 90.0))
"""Degrees of turning about y and of looking down: aslant, from the front, from the right, from above."""

_FAR, _NEAR = np.array([38.0, 58.0, 92.0]), np.array([255.0, 196.0, 87.0])
_PAPER = 250


def views(cloud: PointCloud) -> bytes:
    """Four views beside each other, as a PNG picture."""
    return _png(Image.fromarray(_strip(cloud, SIDE)))


def contact_sheet(clouds: Sequence[PointCloud], titles: Sequence[str]) -> bytes:
    """The four views of each cloud under its title, two clouds a row, as a PNG picture."""
    columns = min(len(clouds), 2)
    width, height = len(VIEWS) * _SMALL + _GAP, _SMALL + _TITLE
    rows = -(-len(clouds) // columns)
    sheet = Image.new("RGB", (columns * width - _GAP, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (cloud, title) in enumerate(zip(clouds, titles, strict=True)):
        row, column = divmod(number, columns)
        draw.text((column * width + 4, row * height + 2), title, fill="black")
        sheet.paste(Image.fromarray(_strip(cloud, _SMALL)), (column * width, row * height + _TITLE))
    return _png(sheet)


def _strip(cloud: PointCloud, side: int) -> NDArray[np.uint8]:
    return np.concatenate([view(cloud, *angles, side) for angles in VIEWS], axis=1)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def view(cloud: PointCloud, turn: float, down: float, side: int = SIDE) -> NDArray[np.uint8]:
    """(side, side, 3) the cloud without perspective, seen `turn` degrees from the front and `down` degrees
    from above. Colours are the cloud's own, darker with depth, where it has any."""
    points = _seen_from(_normalised(cloud), turn, down)
    depth = (points[:, 2] + 1.74) / 3.48  # 0 far, 1 near: the cube's half diagonal is √3
    shade = np.clip(1.6 * (depth - 0.5) + 0.5, 0, 1)[:, None]
    if cloud.colours is None:
        colours = _FAR + shade * (_NEAR - _FAR)
    else:
        colours = cloud.colours * (0.45 + 0.55 * shade)
    radius = max(round(1.6 * (side / 200) * min((2048 / len(cloud)) ** 0.25, 2)), 1)
    middle = (side - 1) / 2
    columns = np.rint(middle + points[:, 0] * middle * 0.68).astype(int)
    rows = np.rint(middle - points[:, 1] * middle * 0.68).astype(int)
    order = np.argsort(points[:, 2], kind="stable")  # far ones first, so that near ones lie over them
    picture = np.full((side, side, 3), _PAPER, np.uint8)
    span = np.arange(-radius, radius + 1)
    y, x = (part.ravel() for part in np.meshgrid(span, span, indexing="ij"))
    disc = x**2 + y**2 <= radius**2 + 0.5
    at = (rows[order, None] + y[disc]).clip(0, side - 1), (columns[order, None] + x[disc]).clip(0, side - 1)
    picture[at] = colours[order, None].astype(np.uint8)
    return picture


def _normalised(cloud: PointCloud) -> NDArray[np.float64]:
    low, high = cloud.box
    if not (high > low).any():
        return np.zeros((len(cloud), 3))
    return Frame.around(cloud.points).into(cloud.points)


def _seen_from(points: NDArray[np.float64], turn: float, down: float) -> NDArray[np.float64]:
    """Coordinates to the right, up and towards the eye."""
    a, b = np.radians(turn), np.radians(down)
    x = np.cos(a) * points[:, 0] - np.sin(a) * points[:, 2]
    z = np.sin(a) * points[:, 0] + np.cos(a) * points[:, 2]
    return np.stack(
        [x, np.cos(b) * points[:, 1] - np.sin(b) * z, np.sin(b) * points[:, 1] + np.cos(b) * z], 1
    )
