"""Tasks of the domain on real shapes: where results lie, what stays, training views, regions, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polydiff.errors import UsageError
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.config import MOST_POINTS
from polydiff_pointcloud.domain import PointClouds
from polydiff_pointcloud.frame import Frame
from polydiff_pointcloud.network import PointLatents
from polydiff_pointcloud.regions import inside
from polydiff_pointcloud.resolved import MOST_SEEN, resolve
from polydiff_pointcloud.training_view import LARGEST, draw_view

from .conftest import DATA, request_of

QUICK = {"steps": 2, "seed": 0}
SHAPES = PointClouds.dataset(DATA, split="all").examples()


def moved(cloud: PointCloud, factor: float = 3.0, by: float = 100.0) -> PointCloud:
    return replace(cloud, points=cloud.points * factor + by, unit="m")


# --- frames and training views ----------------------------------------------------------------------------


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(0, 27))
@settings(max_examples=30)
def test_a_cube_goes_there_and_back(factor, by, seed):
    points = np.random.default_rng(seed).normal(size=(40, 3)) * factor + by
    frame = Frame.around(points)
    inner = frame.into(points)
    assert np.abs(inner).max() == pytest.approx(1)
    assert np.allclose(inner.min(0), -inner.max(0), atol=1e-6)
    assert np.allclose(frame.out_of(inner), points, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("points", [np.ones((5, 3)), np.full((1, 3), 7.0)])
def test_a_shape_of_no_size_is_refused(model, points):
    with pytest.raises(UsageError, match="the shape has no size"):
        model.sample(1, source=PointCloud(points), strength=0.5, **QUICK)


@given(st.integers(0, 27), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_training_view_always_leaves_something_to_make(number, seed):
    cloud = SHAPES[number]
    view = draw_view(cloud, np.random.default_rng(seed))
    assert not view.given.all()
    assert view.given.sum() in {0, *range(4, len(cloud))}
    assert np.abs(view.frame.into(cloud.points)).max() <= 2 * LARGEST + 1e-6


def test_training_views_are_a_function_of_the_seed(domain, dataset):
    item = dataset[0]
    one, again, other = (domain.augment(item.load(), item.conditions, seed)[0] for seed in (5, 5, 6))
    assert one.cloud == again.cloud
    assert np.array_equal(one.given, again.given)
    assert one.cloud != other.cloud
    assert len(one.cloud) == domain.config.lesson_points


def test_only_categories_without_a_front_are_turned(dataset):
    chair = dataset[0]
    turning, still = (
        PointClouds(PointClouds.configure(dataset, {"turning": t, "stretch": 0.0, "mirror": False}))
        for t in (("chair",), ())
    )
    ratio = chair.load().box
    for seed in range(4):
        view, _ = still.augment(chair.load(), chair.conditions, seed)
        assert np.allclose(view.cloud.box, ratio, atol=0.05)
    boxes = [turning.augment(chair.load(), chair.conditions, seed)[0].cloud.box for seed in range(4)]
    assert max(np.abs(box - ratio).max() for box in boxes) > 0.1


# --- the network --------------------------------------------------------------------------------------------


def test_the_network_knows_no_order_and_takes_any_number():
    torch.manual_seed(0)
    network = PointLatents({}, points=16, latents=32, count=8, rounds=2, depth=1, heads=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    for count in (1, 256, 4096):
        x = {"points": torch.randn(1, count, 3), "context": torch.zeros(1, count, 4)}
        order = torch.randperm(count)
        with torch.no_grad():
            here = network(x, torch.zeros(1), {}, {})["points"]
            there = network({k: v[:, order] for k, v in x.items()}, torch.zeros(1), {}, {})["points"]
        assert torch.allclose(here[:, order], there, atol=1e-4)


# --- tasks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [16, 300, 5000])
def test_any_density(model, points):
    assert len(model.sample(1, points=points, **QUICK)[0].example) == points


def test_a_completed_shape_keeps_what_was_given_and_lies_where_it_did(model, shapes):
    scan = moved(shapes[0])
    scan = scan[scan.points[:, 1] < np.median(scan.points[:, 1])]
    made = model.sample(1, source=scan, keep="all", points=500, **QUICK)[0].example
    assert len(made) == 500
    assert np.array_equal(made.points[: len(scan)], scan.points)
    assert (made.unit, made.category) == ("m", scan.category)
    assert np.abs(made.points - scan.points.mean(0)).max() < 40


def test_what_is_made_anew_takes_the_place_of_what_was(model, shapes):
    cloud = moved(shapes[0])
    region = f"x>{cloud.points[:, 0].mean()}"
    made = model.sample(1, source=cloud, redo=region, **QUICK)[0].example
    kept = ~inside(region, cloud.points)
    assert np.array_equal(made.points[kept], cloud.points[kept])
    assert not np.array_equal(made.points[~kept], cloud.points[~kept])
    low, high = cloud.box
    box = ",".join(str(x) for x in [*low, *((low + high) / 2)])
    made = model.sample(1, source=cloud, keep=box, **QUICK)[0].example
    assert np.isin(cloud.points[inside(box, cloud.points)], made.points).all()


def test_a_scan_may_say_how_large_the_whole_is(model, shapes):
    cloud = moved(shapes[0])
    low, high = cloud.box.tolist()
    half = cloud[cloud.points[:, 0] < cloud.points[:, 0].mean()]
    request = request_of(source=half, keep="all", within=",".join(map(str, [*low, *high])))
    assert resolve(request, model.domain.config).frame.half == pytest.approx(cloud.cube.half)
    with pytest.raises(UsageError, match="is no box"):
        model.sample(1, source=half, keep="all", within="1,2,3", **QUICK)


def test_of_many_kept_points_some_are_shown_and_all_stay(model):
    cloud = PointCloud(np.random.default_rng(0).normal(size=(MOST_SEEN + 100, 3)))
    request = request_of(source=cloud, keep="all", points=MOST_SEEN + 200)
    assert resolve(request, model.domain.config).given.sum() == MOST_SEEN
    made = model.sample(1, source=cloud, keep="all", points=MOST_SEEN + 200, **QUICK)[0].example
    assert len(made) == MOST_SEEN + 200
    assert np.array_equal(made.points[: len(cloud)], cloud.points)


def test_a_variation_of_some_of_the_points(model, shapes):
    cloud = shapes[0]
    made = model.sample(1, source=cloud, strength=0.01, points=100, **QUICK)[0]
    assert len(made.example) == 100
    assert "100 of the 512 points" in made.example.notes[0]


def test_a_way_pairs_points_that_lie_near_each_other(domain):
    a = torch.randn(64, 3)
    shuffled = (a + 0.01)[torch.randperm(64)]
    assert torch.allclose(domain.paired({"points": a}, {"points": shuffled})["points"], a + 0.01)


def test_a_way_between_two_shapes(model, shapes):
    way = model.sample(3, source=shapes[0], target=moved(shapes[1]), steps=4, seed=0)
    assert [len(x.example) for x in way] == [256] * 3
    way = model.sample(2, source=shapes[0], target=shapes[1][:40], steps=2, seed=0)
    assert [len(x.example) for x in way] == [40] * 2  # as many as both have
    way = model.sample(2, source=shapes[1][:40], target=shapes[0], steps=2, seed=0)
    assert [len(x.example) for x in way] == [40] * 2


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"keep": "x>9"}, "Nothing of the source is kept: it lies between"),
        ({"redo": "x>9"}, "No point lies in the region"),
        ({"redo": "all"}, "Nothing of the source is kept"),
        ({"keep": "left"}, "Cannot read the region 'left'"),
        ({"keep": "x>0 and w<1"}, "Cannot read the region 'w<1'"),
        ({"keep": "0,0,0,1,1"}, "it takes six numbers"),
        ({"keep": "1,0,0,0,1,1"}, "ends in x before it begins"),
        ({"keep": "all", "points": 512}, "512 points are kept and 512 asked for"),
        ({"strength": 0.5, "points": 600}, "has at most the 512 points"),
        ({"points": 1_000_000}, str(MOST_POINTS)),
        ({"points": 3}, "16"),
        ({"conditions": {"category": "chairs"}}, "Did you mean 'chair'"),
    ],
)
def test_what_cannot_be_is_one_line(model, shapes, asked, line):
    source = {} if "conditions" in asked else {"source": shapes[0]}
    with pytest.raises(UsageError) as caught:
        model.sample(1, **source, **asked, **QUICK)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


# --- data ---------------------------------------------------------------------------------------------------


def test_a_folder_of_meshes_and_clouds_is_data(tmp_path, shapes):
    import trimesh

    for name, cloud in zip(("chair", "table"), (shapes[0], shapes[8]), strict=True):
        (tmp_path / name).mkdir()
        cloud.save(tmp_path / name / "a.ply")
    trimesh.creation.box().export(tmp_path / "table" / "b.stl")
    (tmp_path / "table" / "c.glb").write_bytes(b"broken")
    PointCloud(np.ones((9, 3))).save(tmp_path / "chair" / "d.xyz")
    data = PointClouds.dataset(tmp_path)
    assert sorted(data.labels("category")) == ["chair", "table", "table"]
    assert len(data.report.skipped) == 2
    config = PointClouds.configure(data, {})
    assert config.conditions[0].choices == ("chair", "table")
    assert 0.2 < config.deviation < 0.8


def test_arrays_know_their_split(dataset):
    test, whole = PointClouds.dataset(DATA, split="test"), PointClouds.dataset(DATA, split="all")
    assert (len(dataset), len(test), len(whole)) == (22, 6, 28)
    assert sum(bool(item.record) for item in whole) == 6
    with pytest.raises(UsageError, match="no split 'tst'"):
        PointClouds.dataset(DATA, split="tst")
