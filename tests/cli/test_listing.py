"""The commands that list things, and the program around them: errors, exit codes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from polydiff import __version__
from polydiff.cli import group
from polydiff.cli.commands import COMMANDS, help_page, plugin_commands
from polydiff.cli.main import main
from polydiff.plugins import registry
from polydiff.plugins.registry import Registry
from polydiff.spec import DomainInfo, PresetInfo


@pytest.fixture(autouse=True)
def _fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of one command line must not outlive it."""
    monkeypatch.setattr(registry, "_registry", None)
    monkeypatch.setenv("POLYDIFF_PLUGINS", "")


@pytest.fixture
def knots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    """A registry with one domain and two presets, and nothing that happens to be installed."""
    monkeypatch.setattr(registry, "installed", lambda: [])
    found = Registry()
    found.register(
        DomainInfo("knots", "Knots", "Closed curves", "no.where:Knots", suffixes=(".knot", ".txt"))
    )
    found.register(
        PresetInfo("knots", "trefoil", str(tmp_path), "CC0-1.0", 3 << 20, "Three crossings", default=True)
    )
    found.register(PresetInfo("knots", "unknot", str(tmp_path), "CC0-1.0"))
    monkeypatch.setattr(registry, "_registry", found)
    return found


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command line."""
    code = main(list(arguments))
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def described(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = call(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["-p", "no:audio", "--help"]])
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = call(capsys, *arguments)
    assert (code, out.rstrip(), err) == (0, help_page(), "")
    assert max(map(len, out.splitlines())) <= 90


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == (0, f"polydiff {__version__}\n", "")
    assert call(capsys, "-p", "no:audio", "--version")[1] == f"polydiff {__version__}\n"


def test_the_help_names_all_options() -> None:
    flags = {flag for parameter in group.cli.params for flag in parameter.opts}
    assert all(flag in help_page() for flag in flags)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: polydiff {name} ")


def test_commands_read_from_the_path_are_those_of_the_metadata() -> None:
    from importlib.metadata import entry_points

    assert set(plugin_commands()) == set(entry_points(group="polydiff.commands").names)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["smaple"], 2, "there is no command 'smaple'. Did you mean 'sample'?"),
        (["xyzzy"], 2, "there is no command 'xyzzy'. `polydiff --help` lists them."),
        (["--stric", "plugins"], 2, "--strict"),
        (["plugins", "--jsn"], 2, "Did you mean '--json'? See `polydiff plugins --help`."),
        (["solvers", "--steps", "0"], 2, "0 is not in the range x>=1"),
        (["solvers", "--steps", "ten"], 2, "'ten' is not a valid integer"),
        (["solvers", "--show", "adms"], 2, "unknown solver 'adms'. Did you mean 'adams'? Choose from adams"),
        (
            ["solvers", "--show", "ddim", "--schedule", "emd"],
            2,
            "unknown schedule 'emd'. Did you mean 'edm'?",
        ),
        (["solvers", "--show", "ddim", "--grid", "karas"], 2, "unknown grid 'karas'. Did you mean 'karras'?"),
        (["solvers", "--show", "ddim", "--option", "eat=1"], 2, "'eat'"),
        (["solvers", "--show", "ddim", "--option", "eta"], 2, "KEY=VALUE, such as order=2, not 'eta'"),
        (["presets", "knot"], 3, "no plugin brings the domain 'knot'. Did you mean 'knots'?"),
        (["schema", "knot"], 3, "Did you mean 'knots'?"),
        (["schema", "knots/trefol"], 2, "unknown preset knots/trefol. Did you mean 'trefoil'?"),
        (["schema", "knots/trefoil"], 2, "not a model folder, it has no model.json"),
        (["schema"], 2, "Missing argument 'DOMAIN|MODEL'"),
        (["-p", "absent_module", "plugins"], 3, "no plugin, module or file has that name"),
        (["-p", "no:knotz", "plugins"], 3, "there is no plugin 'knotz' to switch off. Did you mean 'knots'?"),
    ],
)
@pytest.mark.usefixtures("knots")
def test_one_line_errors(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    found, out, err = call(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Error: interrupted."),
        (click.Abort(), 130, "Error: interrupted."),
        (
            OSError(28, "No space left on device", "out/1.wav"),
            1,
            "Error: out/1.wav: No space left on device.",
        ),
        (
            ValueError("odd\nvalue"),
            1,
            "Error: ValueError: odd value. This is a fault of polydiff or of a plugin; --debug",
        ),
        (click.FileError("a.toml", "gone"), 1, "Error: Could not open file 'a.toml': gone"),
    ],
)
def test_exit_codes(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    words: str,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("polydiff.cli.domains.command", click.Command("domains", callback=fail))
    found, _, err = call(capsys, "domains")
    assert (found, err.strip().count("\n")) == (code, 0)
    assert words in err
    assert "Traceback" in call(capsys, "domains", "--debug")[2]


def test_a_wrong_choice_gets_a_suggestion(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    option = click.Option(["--kind"], type=click.Choice(["peak", "lufs"]))
    monkeypatch.setattr("polydiff.cli.domains.command", click.Command("domains", params=[option]))
    code, _, err = call(capsys, "domains", "--kind", "peek")
    assert code == 2
    assert "Did you mean 'peak'? See `polydiff domains --help`." in err


@pytest.mark.usefixtures("knots")
def test_domains(capsys: pytest.CaptureFixture[str]) -> None:
    (domain,) = described(capsys, "domains")["domains"]
    assert (domain["name"], domain["suffixes"]) == ("knots", [".knot", ".txt"])
    assert domain["presets"] == ["knots/trefoil", "knots/unknot"]
    assert "knots  .knot .txt  knots  Closed curves" in call(capsys, "domains")[1]


@pytest.mark.usefixtures("knots")
def test_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert [preset["default"] for preset in described(capsys, "presets")["presets"]] == [True, False]
    assert "knots/trefoil *  3.0 MiB  CC0-1.0  Three crossings" in call(capsys, "presets", "knots")[1]


def test_plugins(capsys: pytest.CaptureFixture[str], knots: Registry) -> None:
    knots.register(type("Second", (), {"name": "other"}))
    plugins = {plugin["name"]: plugin for plugin in described(capsys, "plugins")["plugins"]}
    assert "solver:ddim.v1" in plugins["polydiff"]["components"]
    assert plugins["other"]["domains"] == ["other"]
    assert "domain knots" in call(capsys, "plugins")[1]


def test_solvers(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ddim.v1" in {solver["name"] for solver in described(capsys, "solvers")["solvers"]}
    shown = described(capsys, "solvers", "--show", "ddim", "--steps", "3", "--schedule", "rectified_flow")
    assert (shown["solver"], shown["nfe"], len(shown["table"]["rows"])) == ("ddim.v1", 3, 3)
    code, out, _ = call(capsys, "solvers", "--show", "adams", "--steps", "5", "--option", "order=2")
    assert (code, len(out.splitlines())) == (0, 7)


def test_a_plugin_file_on_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.plugin_packages import HEAD

    (tmp_path / "shelf_plugin.py").write_text(HEAD)
    monkeypatch.chdir(tmp_path)
    assert "shelf_plugin" in call(capsys, "-p", "shelf_plugin.py", "plugins")[1]


def test_python_minus_m() -> None:
    done = subprocess.run([sys.executable, "-m", "polydiff", "nope"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
