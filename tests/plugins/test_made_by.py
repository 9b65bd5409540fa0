"""What is said when a plugin has changed since it made a model: its name, and both versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polydiff.cli.main import main
from polydiff.errors import UsageError
from polydiff.model import load
from polydiff.models.manifest import MANIFEST
from tests import series


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return series.model().save(tmp_path / "run")


def change(folder: Path, **values: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **values}))


def test_a_model_folder_names_its_plugin(folder: Path) -> None:
    assert json.loads((folder / MANIFEST).read_text())["plugin"] == "polydiff_mydata"


def test_one_that_does_not_is_loaded(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["plugin"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert load(folder).manifest.plugin == ""


def test_a_config_of_another_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((folder / MANIFEST).read_text())["config"]
    config["layers"] = config.pop("depth")
    change(folder, config=config, plugin="polydiff-mydata", plugin_version="0.3")
    line = "unknown key 'layers'."
    made = "made with the plugin polydiff-mydata 0.3, and polydiff_mydata (no version) is installed"
    with pytest.raises(UsageError) as error:
        load(folder)
    assert line in str(error.value)
    assert made in str(error.value)
    data = series.write_data(folder.parent / "data")
    assert main(["evaluate", str(folder), str(data), "--reference", str(data)]) == 2
    assert made in capsys.readouterr().err


def test_weights_of_another_network(folder: Path) -> None:
    config = json.loads((folder / MANIFEST).read_text())["config"]
    change(folder, config={**config, "depth": 2}, plugin_version="0.3")
    with pytest.raises(UsageError, match=r"the plugin's network has changed\. .*polydiff_mydata 0\.3, and "):
        load(folder)


def test_a_domain_that_is_not_installed(folder: Path) -> None:
    change(folder, domain="gone", plugin="polydiff-gone")
    from polydiff.errors import PluginError

    with pytest.raises(PluginError, match="needs the domain 'gone', of polydiff-gone"):
        load(folder)
