"""Surfaces are closed and where the points are; pages show what they are given."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from polydiff.errors import UsageError
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.preview import VIEWS, contact_sheet, view, views
from polydiff_pointcloud.surface import mesh_of
from polydiff_pointcloud.viewer import MOST_SHOWN, page


def sphere(count: int, radius: float = 1.0) -> PointCloud:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return PointCloud(radius * points / np.linalg.norm(points, axis=1, keepdims=True) + 50)


@pytest.mark.parametrize(("count", "within"), [(500, 0.15), (2000, 0.08), (8000, 0.07)])
@pytest.mark.slow
def test_a_sphere_is_closed_and_filled(count, within):
    mesh = mesh_of(sphere(count, 10.0))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 1000, rel=within)
    assert np.allclose(mesh.bounds, [[40] * 3, [60] * 3], atol=10 * within)


def test_a_sheet_stays_thin_and_closed():
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) * (1, 0, 1)
    mesh = mesh_of(PointCloud(points))
    assert mesh.is_watertight
    assert 0 < np.ptp(mesh.vertices[:, 1]) < 0.15


@pytest.mark.slow
def test_every_shape_gets_a_closed_surface(shapes):
    for cloud in shapes[::3]:
        mesh = mesh_of(cloud)
        assert mesh.is_watertight
        low, high = cloud.box
        assert np.allclose(mesh.bounds, [low, high], atol=0.25)


def test_too_few_points_bound_nothing():
    with pytest.raises(UsageError, match="at least 64 points"):
        mesh_of(sphere(20))
    with pytest.raises(UsageError, match="no size"):
        mesh_of(PointCloud(np.ones((100, 3))))


def test_views_show_the_near_side_and_their_own_axes():
    points = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, 0.5], [0, 0, -0.5]])
    front, side = (view(PointCloud(points), *VIEWS[k]) for k in (1, 2))
    ink = [np.argwhere((picture != 250).any(-1)) for picture in (front, side)]
    assert np.ptp(ink[0][:, 1]) > 1.5 * np.ptp(ink[1][:, 1])  # wide from the front, narrow from the side
    middle = front[98:102, 98:102].reshape(-1, 3).astype(int)
    assert middle[:, 0].max() > 140  # the nearer of two points in one place, brighter than the farther


def test_pictures_are_pictures(shapes, coloured):
    image = Image.open(io.BytesIO(views(coloured)))
    assert image.size == (800, 200)
    sheet = Image.open(io.BytesIO(contact_sheet(shapes[:3], ["a", "b", "c"])))
    assert sheet.size[1] == 2 * 166
    assert views(PointCloud(np.ones((4, 3))))  # of no size, and yet a picture


def test_a_page_holds_all_that_it_shows(shapes):
    text = page([shapes[0], sphere(MOST_SHOWN + 5)], ["a <b>", "large"])
    assert "a &lt;b&gt;" in text
    assert "20,005 points" in text
    assert not re.search(r"https?://|src=", text)
    packed = re.findall(r'data-points="([^"]*)"', text)
    counts = [len(base64.b64decode(x)) // 6 for x in packed]
    assert counts == [len(shapes[0]), MOST_SHOWN]
    assert "<iframe" in shapes[0]._repr_html_()
