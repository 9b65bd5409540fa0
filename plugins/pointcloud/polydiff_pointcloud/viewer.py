"""A page that shows a cloud and lets it be turned, in one file that needs nothing from anywhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from PIL import Image

from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame
from polydiff_pointcloud.preview import VIEWS, view

MOST_SHOWN = 20_000
"""Of a larger cloud so many points are drawn."""


def page(clouds: Sequence[PointCloud], titles: Sequence[str]) -> str:
    """An HTML page of clouds under their titles; dragging turns one, the wheel brings it nearer."""
    template = files("polydiff_pointcloud").joinpath("viewer.html").read_text(encoding="utf-8")
    figures = [
        f'<figure><canvas data-points="{_packed(cloud)}" data-colours="{_colours(cloud)}"></canvas>'
        f"<figcaption>{html.escape(title)}<br><small>{len(cloud):,} points</small></figcaption></figure>"
        for cloud, title in zip(clouds, titles, strict=True)
    ]
    return template.replace("<!-- figures -->", "\n".join(figures))


def named_page(clouds: Sequence[PointCloud], names: Sequence[str]) -> str:
    """The viewer of polydiff for clouds in files: each under its category, where it has one, and its name."""
    titles = [" ".join(filter(None, (x.category, name))) for x, name in zip(clouds, names, strict=True)]
    return page(clouds, titles)


def embedded(cloud: PointCloud) -> str:
    """A cloud for notebooks: a small picture, and a view that turns where scripts may run."""
    buffer = io.BytesIO()
    Image.fromarray(view(cloud, *VIEWS[0])).save(buffer, "PNG")
    still = base64.b64encode(buffer.getvalue()).decode("ascii")
    inner = html.escape(page([cloud], [cloud.category or "cloud"]), quote=True)
    return (
        f'<iframe srcdoc="{inner}" sandbox="allow-scripts" width="420" height="470" style="border:0">'
        f'<img src="data:image/png;base64,{still}"/></iframe>'
    )


def _packed(cloud: PointCloud) -> str:
    """Places in the cube as 16-bit integers, in base64."""
    some = cloud.thinned(MOST_SHOWN)
    points = Frame.around(some.points).into(some.points)
    return base64.b64encode(np.rint(points * 32767).astype("<i2").tobytes()).decode("ascii")


def _colours(cloud: PointCloud) -> str:
    some = cloud.thinned(MOST_SHOWN)
    return "" if some.colours is None else base64.b64encode(some.colours.tobytes()).decode("ascii")
