"""Pictures and pages of backbones."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from polydiff.errors import UsageError
from polydiff_protein.commands import ribbon as command
from polydiff_protein.preview import contact_sheet, ribbon, views
from polydiff_protein.structure import Backbone
from polydiff_protein.viewer import page

from .conftest import REAL


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def _inked(png: bytes) -> np.ndarray:
    return _pixels(png).min(2) < 250


def test_helices_are_thick_and_strands_are_arrows(real):
    widths = {name: ribbon(backbone).widths for name, backbone in real.items()}
    assert set(np.round(widths["1ig5"], 1)) >= {0.7, 2.2}
    assert widths["1shg"].max() > 4  # the base of an arrow's head
    assert (widths["1shg"] == 2.6).any()
    drawn = ribbon(real["1igd"])
    assert np.allclose(drawn.steps[:-1, 1], drawn.steps[1:, 0])  # one line
    assert (np.diff(drawn.places) > 0).all()
    assert 0 < drawn.places[0] < 0.01
    assert 0.99 < drawn.places[-1] < 1


def test_the_line_is_cut_where_the_chain_is(igd):
    gap = igd[np.r_[0:20, 30:61]]
    steps = ribbon(gap).steps
    assert (np.linalg.norm(steps[:-1, 1] - steps[1:, 0], axis=1) > 1).sum() == 1
    assert np.linalg.norm(steps[:, 1] - steps[:, 0], axis=1).max() < 1


def test_colours_run_from_blue_to_red_along_each_chain(igd):
    picture = _pixels(views(replace(igd, chains="A" * 30 + "B" * 31)))
    red, blue = (picture[..., k] - picture[..., [j for j in (0, 1, 2) if j != k]].max(-1) for k in (0, 2))
    assert (red > 60).sum() > 100
    assert (blue > 60).sum() > 100


def test_three_views_have_something_in_each(real):
    for backbone in (*real.values(), Backbone(np.random.default_rng(0).normal(size=(1, 4, 3)))):
        inked = _inked(views(backbone))
        thirds = np.array_split(inked, 3, axis=1)
        assert all(part.sum() > 50 for part in thirds)


def test_a_sheet_has_a_view_of_each(real):
    sheet = _inked(contact_sheet(list(real.values()), list(real)))
    assert all(part.any() for part in np.array_split(sheet[: len(sheet) // 2], 4, axis=1))


def test_a_page_holds_all_it_needs(real):
    text = page(list(real.values()), ["<b>&", *list(real)[1:]])
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text)
    assert "<!--" not in text
    data = json.loads(re.search(r'id="structures">(.*?)</script>', text, re.DOTALL)[1])
    assert [row["title"] for row in data] == ["<b>&", *list(real)[1:]]
    assert all(row["text"].count(" CA ") == len(x) for row, x in zip(data, real.values(), strict=True))
    big = Backbone(np.zeros((2, 4, 3)), chains=("AA", "AB"))
    assert (
        json.loads(re.search(r'id="structures">(.*?)</script>', page([big], ["x"]), re.DOTALL)[1])[0][
            "format"
        ]
        == "cif"
    )


def test_the_command_writes_pages_and_pictures(tmp_path):
    paths = [str(path) for path in list(REAL.values())[:2]]
    for name, start in (("a.html", b"<!doctype html>"), ("a.png", b"\x89PNG")):
        done = CliRunner().invoke(command, [*paths, "-o", str(tmp_path / name)], catch_exceptions=False)
        assert "2 structures" in done.output
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(UsageError, match="ribbons are drawn as"):
        CliRunner().invoke(command, [*paths, "-o", "x.pdf"], catch_exceptions=False)
