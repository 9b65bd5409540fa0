"""The commands: tasks on the shipped model, meshes and pages, and one clear line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from polydiff.cli.main import main
from polydiff_pointcloud.files import read

from .conftest import DATA

QUICK = ["--steps", "2", "--seed", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shapes) -> None:
    monkeypatch.chdir(tmp_path)
    shapes[0].save("chair.ply")
    shapes[1].save("other.ply")


def test_shapes_by_category_and_density():
    words = ["--category", "chair", "--category", "table:0.5,sofa:0.5", "--points", "300"]
    assert main(["sample", "pointcloud", *words, *QUICK, "-o", "made"]) == 0
    assert len(read("made/0001.ply")) == 300
    assert read("made/0000.ply").category == "chair"
    assert Path("made/contact.png").is_file()
    assert main(["replay", "made/0001.ply.json"]) == 0


@pytest.mark.parametrize("suffix", ["ply", "glb", "npz", "xyz"])
def test_a_scan_is_completed(suffix):
    assert (
        main(["sample", "pointcloud", "--from", "chair.ply", "--keep", "y<0", *QUICK, "-o", f"a.{suffix}"])
        == 0
    )
    made, source = read(f"a.{suffix}").points, read("chair.ply").points
    low = source[:, 1] < 0
    assert np.array_equal(made[low], source[low])
    assert json.loads(Path(f"a.{suffix}.json").read_text())["source"]["keep"] == "y<0"
    assert main(["replay", f"a.{suffix}.json"]) == 0


def test_a_mesh_is_a_source_too():
    trimesh.creation.box().export("box.stl")
    words = ["--from", "box.stl", "--strength", "0.2", "--points", "128"]
    assert main(["sample", "pointcloud", *words, *QUICK, "-o", "b.ply"]) == 0
    assert "points taken from the surface" in " ".join(json.loads(Path("b.ply.json").read_text())["notes"])


@pytest.mark.slow
def test_a_way_from_one_shape_to_another():
    words = ["--from", "chair.ply", "--to", "other.ply", "-n", "3", "--points", "64"]
    assert main(["sample", "pointcloud", *words, *QUICK, "-o", "way"]) == 0
    shares = [json.loads(Path(f"way/000{i}.ply.json").read_text())["source"]["share"] for i in range(3)]
    assert shares == [0, 0.5, 1]
    assert main(["replay", "way/0001.ply.json"]) == 0


@pytest.mark.slow
def test_meshes_and_pages(capsys):
    assert main(["mesh", "chair.ply", "other.ply", "-o", "meshes"]) == 0
    assert "watertight" in capsys.readouterr().out
    assert trimesh.load("meshes/chair.mesh.glb", force="mesh").is_watertight
    assert main(["mesh", "chair.ply", "-o", "one.stl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["meshes"][0]["watertight"] is True
    assert main(["view", "chair.ply", "-o", "page.html"]) == 0
    assert "512 points" in Path("page.html").read_text()


@pytest.mark.slow
def test_training_and_evaluating(capsys):
    small = [
        f"config.network.{name}"
        for name in ("points=8", "latents=16", "count=4", "rounds=1", "depth=1", "heads=1")
    ]
    words = [x for name in [*small, "pictures.every=0", "config.points=64"] for x in ("--set", name)]
    run = ["train", "pointcloud", "--data", str(DATA), "-o", "run", "--steps", "2", "--batch-size", "4"]
    assert main([*run, *words, "--threads", "1"]) == 0
    assert main(["sample", "run", "--category", "tree", "-n", "3", *QUICK, "-o", "trees"]) == 0
    capsys.readouterr()
    assert (
        main(
            [
                "evaluate",
                "pointcloud",
                "trees",
                "--reference",
                str(DATA),
                "--set",
                "data.split=all",
                "--json",
                "--picture",
                "near.png",
            ]
        )
        == 0
    )
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["tree novelty"] > 0
    assert Path("near.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--category", "chairs"], "Did you mean 'chair'"),
        (["--points", "1000000"], "points"),
        (["--from", "gone.ply", "--keep", "all"], "gone.ply"),
        (["--from", "chair.ply", "--keep", "x>7"], "Nothing of the source is kept"),
        (["--from", "chair.ply", "--redo", "x>a"], "Cannot read the region"),
        (["--from", "text.ply", "--keep", "all"], "no readable .ply file"),
        (["--from", "point.xyz", "--keep", "all"], "has no size"),
        (["--from", "notes.txt", "--keep", "all"], "pointcloud reads"),
        (["--to", "chair.ply"], "two ends"),
        (["--format", "stl"], "pointcloud writes"),
    ],
)
def test_what_cannot_be_is_one_line(words, line, capsys):
    Path("text.ply").write_text("hello\n" * 5)
    Path("notes.txt").write_text("hello")
    Path("point.xyz").write_text("1 2 3\n")
    assert main(["sample", "pointcloud", *words, *QUICK, "-o", "out"]) == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["mesh", "chair.ply", "-o", "a.glb", "--format", "stl"], "names the format already"),
        (["mesh", "chair.ply", "other.ply", "-o", "a.glb"], "a file is for one mesh"),
        (["mesh", "chair.ply", "--format", "3ds"], "meshes are"),
        (["mesh", "gone.ply"], "does not exist"),
        (["view", "chair.ply", "-o", "a.png"], "is an .html file"),
    ],
)
def test_commands_refuse_in_one_line(words, line, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said
