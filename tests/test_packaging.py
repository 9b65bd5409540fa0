"""What is published is whole, and what is pinned is what is required."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import polydiff

ROOT = Path(__file__).parents[1]
PROJECTS = {"polydiff": ROOT} | {
    path.name: path for path in sorted((ROOT / "plugins").iterdir()) if path.is_dir()
}


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def normalised(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pins() -> list[str]:
    return (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def built(name: str, folder: Path) -> zipfile.ZipFile:
    """The wheel of a project, built with the build backend that is installed (nothing is downloaded)."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECTS[name], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_is_whole(name: str, tmp_path: Path) -> None:
    wheel = built(name, tmp_path)
    packed = {path for path in wheel.namelist() if ".dist-info/" not in path}
    [package] = {path.split("/")[0] for path in packed}
    tracked = subprocess.run(
        ["git", "ls-files", package], cwd=PROJECTS[name], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert packed >= {path for path in tracked if path}, "a file in git is not in the wheel"
    assert f"{package}/py.typed" in packed
    assert any(path.endswith("licenses/LICENSE") for path in wheel.namelist())


def test_the_audio_wheel_carries_its_models(tmp_path: Path) -> None:
    wheel = built("audio", tmp_path)
    sizes = {info.filename: info.file_size for info in wheel.infolist()}
    for preset in ("digits", "drums", "notes"):
        folder = f"polydiff_audio/checkpoints/{preset}"
        assert {f"{folder}/model.json", f"{folder}/weights.safetensors"} <= set(sizes)
        assert sum(size for path, size in sizes.items() if path.startswith(f"{folder}/")) <= 16 * 2**20
    [entry_points] = [path for path in sizes if path.endswith("entry_points.txt")]
    assert "[polydiff.plugins]\naudio = polydiff_audio" in wheel.read(entry_points).decode()


def test_every_requirement_is_pinned() -> None:
    pinned = {normalised(line) for line in pins()}
    for folder in PROJECTS.values():
        table = project(folder)
        required = list(table["project"]["dependencies"])
        for extra in table["project"].get("optional-dependencies", {}).values():
            required += extra
        for group in table.get("dependency-groups", {}).values():
            required += [line for line in group if isinstance(line, str)]
        names = {normalised(line) for line in required} - {"polydiff"}
        assert names <= pinned, "run make lock"


def test_pins_are_plain_versions() -> None:
    for line in pins():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.!+]+( ; .+)?", line), line
    assert "torch==2.13.0" in pins()
    assert not any(line.startswith("torchaudio") for line in pins())


@pytest.mark.parametrize("name", PROJECTS)
def test_versions_agree(name: str) -> None:
    version = project(PROJECTS[name])["project"]["version"]
    assert version == polydiff.__version__
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_and_the_targets_are_there() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    for target in ("demo", "test", "lint", "docs"):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
