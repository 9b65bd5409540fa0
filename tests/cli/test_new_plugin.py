"""`polydiff new-plugin`: the package that it writes installs, passes the conformance suite and trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from polydiff.cli.main import main
from polydiff.cli.new_plugin import LABELS, labelled_years

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "polydiff-sea-ice"
    assert main(["new-plugin", "sea_ice", "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path in which the package is installed, from a wheel of it."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=package, check=True, capture_output=True)
    [wheel] = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def python(site: Path, folder: Path, *words: str, plugins: str = "") -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "POLYDIFF_PLUGINS": plugins}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_template_leaves_no_trace(package: Path) -> None:
    for path in package.rglob("*"):
        assert "mydata" not in path.name.lower()
        if path.is_file():
            assert "mydata" not in path.read_text().lower(), path
    assert (package / "polydiff_sea_ice" / "recipes" / "default.toml").is_file()
    assert "class SeaIce(Domain)" in (package / "polydiff_sea_ice" / "domain.py").read_text()


def test_the_data_are_real_years_in_thirds(package: Path) -> None:
    years = labelled_years()
    assert len(years) == 61
    assert {year for _, year, _ in years} == {str(year) for year in range(1950, 2011)}
    counts = [len(list((package / "data" / label).glob("*.csv"))) for label in LABELS]
    assert counts == [21, 20, 20]
    by_year = {year: label for label, year, _ in years}
    assert by_year["1983"] == by_year["1997"] == "warm"  # the great El Niños
    assert by_year["1950"] == by_year["1954"] == "cold"  # La Niñas


def test_it_is_discovered_when_installed(site: Path, tmp_path: Path) -> None:
    done = python(site, tmp_path, "polydiff", "plugins", "--json")
    [record] = [p for p in json.loads(done.stdout)["plugins"] if p["name"] == "sea_ice"]
    assert record["status"] == "ok"
    assert record["distribution"] == "polydiff-sea-ice"
    assert record["domains"] == ["sea_ice"]


def test_help_before_there_is_a_model(site: Path, tmp_path: Path) -> None:
    done = python(site, tmp_path, "polydiff", "sample", "sea_ice", "--help")
    assert done.returncode == 0, done.stderr
    assert "--length" in done.stdout


@pytest.mark.slow
def test_it_passes_the_suite(site: Path, package: Path) -> None:
    done = python(site, package, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout


def test_it_trains_and_samples(site: Path, package: Path, tmp_path: Path) -> None:
    train = ("train", "sea_ice", "--data", str(package / "data"), "-o", "run", "--steps", "30")
    quick = ("--set", "config.width=32", "--set", "config.depth=1", "--set", "pictures.every=0")
    done = python(site, tmp_path, "polydiff", *train, *quick)
    assert done.returncode == 0, done.stderr
    done = python(site, tmp_path, "polydiff", "sample", "run", "--label", "warm", "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    values = [float(line) for line in (tmp_path / "out" / "0000.csv").read_text().splitlines()[1:]]
    assert len(values) == 12
    assert 10 < min(values) < max(values) < 40  # degrees


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Sea"], "cannot name a domain"),
        (["class"], "cannot name a domain"),
        (["a-b"], "cannot name a domain"),
        (["x", "-o", "there"], "there exists"),
    ],
)
def test_bad_names_and_places(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert main(["new-plugin", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["solver", "product"])
def test_other_kinds_pass_their_suites(kind: str, tmp_path: Path) -> None:
    """Written, loaded as a module, its own tests run, and used on the command line."""
    package = tmp_path / "package"
    assert main(["new-plugin", "sea_ice", "--kind", kind, "-o", str(package)]) == 0
    for path in package.rglob("*"):
        assert not path.is_file() or "mydata" not in path.read_text().lower(), path
    done = python(package, package, "pytest", "-q", "-p", "no:cacheprovider", plugins="polydiff_sea_ice")
    assert done.returncode == 0, done.stdout[-3000:]
    if kind == "solver":
        words = ("polydiff", "solvers", "--show", "sea_ice", "--steps", "4")
        done = python(package, tmp_path, *words, plugins="polydiff_sea_ice")
        assert "sea_ice.v1" in done.stdout
        return
    train = ("train", "sea_ice", "--data", str(package / "data"), "-o", "run", "--steps", "30")
    quick = ("--set", "config.width=32", "--set", "config.depth=1", "--set", "pictures.every=0")
    done = python(package, tmp_path, "polydiff", *train, *quick, plugins="polydiff_sea_ice")
    assert done.returncode == 0, done.stderr
    sample = ("sample", "run", "--label", "warm", "-o", "out")
    done = python(package, tmp_path, "polydiff", *sample, plugins="polydiff_sea_ice")
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in (tmp_path / "out" / "0000.csv").read_text().splitlines()[1:]]
    assert len(rows) == 12
    assert {kind for _, kind in rows} <= {"cool", "usual", "warm"}
