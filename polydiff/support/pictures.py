"""PNG pictures, without any state of pyplot (threads draw at the same time)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polydiff.errors import PolydiffError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["contact_sheet", "new_figure", "to_png"]


def new_figure(width: float, height: float) -> Figure:
    """An empty matplotlib figure of so many inches that no global list holds on to."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PolydiffError("Pictures need matplotlib: pip install matplotlib.") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def contact_sheet(pictures: Sequence[bytes], titles: Sequence[str], columns: int | None = None) -> bytes:
    """PNG pictures as one sheet, row by row, each under its title."""
    figure_columns = columns or min(6, max(1, math.ceil(math.sqrt(len(pictures)))))
    rows = max(1, math.ceil(len(pictures) / figure_columns))
    figure = new_figure(2.6 * figure_columns, 2.2 * rows)
    from matplotlib.image import imread

    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True), start=1):
        axes = figure.add_subplot(rows, figure_columns, index)
        axes.imshow(imread(io.BytesIO(picture)), aspect="equal", interpolation="antialiased")
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    return to_png(figure)
