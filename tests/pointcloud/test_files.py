"""Clouds and meshes in files: exact round trips, and one line for what is broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from polydiff.errors import UsageError
from polydiff_pointcloud import files
from polydiff_pointcloud.cloud import PointCloud

HOLDS = {".ply": "ncu", ".npz": "ncu", ".xyz": "nc", ".glb": "cu", ".obj": "c", ".npy": ""}


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("parts", ["", "n", "c", "nc"])
def test_what_a_format_holds_comes_back_exactly(coloured, tmp_path, suffix, parts):
    cloud = replace(
        coloured,
        normals=coloured.normals if "n" in parts else None,
        colours=coloured.colours if "c" in parts else None,
    )
    path = tmp_path / f"cloud{suffix}"
    notes, holds = files.write(cloud, path), HOLDS[suffix]
    found = files.read(path)
    assert np.array_equal(found.points, cloud.points)
    for letter, name in (("n", "normals"), ("c", "colours")):
        expected = getattr(cloud, name) if letter in holds else None
        got = getattr(found, name)
        assert (got is None) == (expected is None)
        assert expected is None or np.array_equal(got, expected)
        assert any(name in note for note in notes) == (letter in parts and letter not in holds)
    if "u" in holds:
        assert (found.unit, found.category) == ("m", "chair")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.just(3)),
        elements=st.floats(-(2.0**60), 2.0**60, width=32),
    ),
    st.sampled_from(files.SUFFIXES),
)
def test_every_number_survives(tmp_path, points, suffix):
    path = tmp_path / f"cloud{suffix}"
    files.write(PointCloud(points), path)
    assert np.array_equal(files.read(path).points, points)


@pytest.mark.parametrize("suffix", [".stl", ".off", ".ply", ".glb", ".obj"])
def test_a_mesh_is_sampled_over_its_surface_with_normals(tmp_path, suffix):
    path = tmp_path / f"box{suffix}"
    trimesh.creation.box((2, 4, 8)).export(path)
    cloud = files.read(path)
    assert len(cloud) == files.SURFACE_POINTS
    assert "surface of a mesh" in cloud.notes[0]
    sides = np.abs(cloud.points) / (1, 2, 4)
    assert np.allclose(sides.max(1), 1, atol=1e-5)  # on the surface
    assert np.allclose((cloud.normals * cloud.points / (1, 2, 4)).sum(1), 1, atol=1e-5)  # pointing out
    share = (sides[:, 0] > 1 - 1e-6).mean()
    assert share == pytest.approx(2 * 32 / (2 * (8 + 16 + 32)), abs=0.02)  # by area
    assert cloud == files.read(path)


def test_a_scene_of_several_meshes_is_placed_as_it_says(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.icosphere(radius=1.0))
    scene.add_geometry(
        trimesh.creation.icosphere(radius=1.0),
        transform=trimesh.transformations.translation_matrix((10, 0, 0)),
    )
    scene.export(tmp_path / "two.glb")
    cloud = files.read(tmp_path / "two.glb")
    assert np.allclose(cloud.box, [[-1, -1, -1], [11, 1, 1]], atol=0.02)
    assert (cloud.points[:, 0] > 5).mean() == pytest.approx(0.5, abs=0.01)


def test_columns_of_an_xyz_file_are_told_apart(tmp_path):
    path = tmp_path / "scan.xyz"
    path.write_text("# from a scanner\n0 0 0 0 0 1\n1 0 0 0 1 0\n")
    assert files.read(path).normals is not None
    path.write_text("0 0 0 200 10 0\n1 0 0 0 1 255\n")
    assert files.read(path).colours.tolist() == [[200, 10, 0], [0, 1, 255]]


def _mesh(suffix: str) -> bytes:
    data = trimesh.creation.box().export(file_type=suffix)
    return data if isinstance(data, bytes) else data.encode()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("empty.ply", b"", "is empty"),
        ("text.ply", b"hello there\n" * 9, "no readable .ply file"),
        ("cut.ply", _mesh("ply")[:-40], "no readable .ply file"),
        ("cut.glb", _mesh("glb")[:500], "no readable .glb file"),
        ("cut.npz", b"PK\x03\x04", "numpy arrays"),
        ("ragged.xyz", b"1 2 3\n4 5\n", "no table of numbers"),
        ("wide.xyz", b"1 2 3 4\n", "rows of 4 numbers"),
        ("paint.xyz", b"1 2 3 999 0 0\n", "outside 0 to 255"),
        ("nan.xyz", b"1 2 3\nnan 1 2\n", "1 of 2 points have NaN"),
        ("faceless.off", b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "no faces (3 vertices)"),
        ("empty.stl", b"solid x\nendsolid x\n", "no faces"),
        ("nothing.obj", b"# nothing\n", "no faces (0 vertices)"),
        ("flat.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no area"),
        ("other.pcd", b"x", "shapes are read from"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        files.read(path)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_surface_format_takes_no_points(coloured, tmp_path):
    for suffix in files.MESHES:
        with pytest.raises(UsageError, match="holds surfaces, no points"):
            files.write(coloured, tmp_path / f"cloud{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_million_points_are_read(tmp_path):
    np.save(tmp_path / "large.npy", np.random.default_rng(0).normal(size=(1_000_000, 3)).astype(np.float32))
    assert len(files.read(tmp_path / "large.npy")) == 1_000_000


@pytest.mark.parametrize(
    ("points", "line"),
    [
        (np.zeros((0, 3)), "at least one point"),
        (np.zeros((3, 2)), "shape (points, 3)"),
        (np.array([[0, np.inf, 0]]), "NaN or infinite"),
    ],
)
def test_what_is_no_cloud_is_refused(points, line):
    with pytest.raises(UsageError) as caught:
        PointCloud(points)
    assert line in str(caught.value)


def test_a_cloud_never_changes(coloured):
    with pytest.raises(ValueError, match="read-only"):
        coloured.points[0] = 1
    assert coloured == replace(coloured)
    assert hash(coloured) == hash(replace(coloured))
    assert coloured != replace(coloured, unit="cm")
    assert coloured[:10].normals.shape == (10, 3)
    assert len(coloured.thinned(20)) == 20
