"""Every kind of component that a plugin may bring does what docs/plugins.md says, from a file given by -p."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from polydiff.cli.main import main
from polydiff.plugins import registry
from tests import series
from tests.plugin_packages import HEAD

PLUGIN = (
    HEAD
    + """
import json
from pathlib import Path

FOLDER = Path(__file__).parent


def component(kind, name, attribute, **facts):
    return ComponentInfo(kind, name, 1, f"{__name__}:{attribute}", f"the {name}", facts)


@hookimpl
def polydiff_components():
    yield component("metric", "mean_gap", "mean_gap", better="higher")
    yield component("metric", "energy_distance", "mean_gap", domain="mydata")
    yield component("metric", "elsewhere", "mean_gap", domain="audio video")
    yield component("metric", "fails", "fails")
    yield component("exporter", "tabs", "tabs", suffix=".tsv", domain="mydata")
    yield component("exporter", "silent", "silent")
    yield component("logger", "lines", "Lines")
    yield component("logger", "clumsy", "Clumsy")
    yield component("weighting", "flat", "flat")
    yield component("process", "doubled", "Doubled")
    yield component("viewer", "png", "page")


@hookimpl
def polydiff_guess_domain(path, head):
    if head.startswith(b"SERIES"):
        return "mydata"
    return ["mydata", "audio"] if head.startswith(b"BOTH") else None


@hookimpl
def polydiff_callbacks(run):
    def note(*row):
        with (FOLDER / "rows.txt").open("a") as file:
            file.write("row\\n")

    return note  # one alone


def mean_gap(samples, reference):
    def mean(data):
        return sum(float(x.values.mean()) for x in data.examples()) / len(data)

    return abs(mean(samples) - mean(reference))


def fails(samples, reference):
    raise ValueError("no such luck")


def tabs(example, path):
    rows = ["\\t".join(map(str, row)) for row in example.values]
    path.write_text("\\n".join(rows))
    return ["names left out"]


def silent(example, path):
    return None


class Lines:
    def __init__(self, run):
        self.file = (FOLDER / "lines.jsonl").open("w")
        self.file.write(json.dumps([run.kind, run.domain]) + "\\n")

    def scalars(self, step, values):
        self.file.write(json.dumps([step, sorted(values)]) + "\\n")

    def picture(self, step, png):
        self.file.write(json.dumps([step, len(png) > 100]) + "\\n")

    def close(self):
        self.file.write(json.dumps("closed"))
        self.file.close()


class Clumsy:
    def __init__(self, run):
        pass

    def scalars(self, step, values):
        raise RuntimeError("disk of the logger is full")


def flat(snr, sigma_data):
    (FOLDER / "weighed.txt").write_text(f"{tuple(snr.shape)} {snr.dtype} {sigma_data}")
    return snr.new_ones(snr.shape)


def Doubled():
    from polydiff.engine.processes import Gaussian

    class Loud(Gaussian):
        def loss(self, *arguments):
            return 2 * super().loss(*arguments)

    return Loud()


def page(examples, titles):
    return "<html>" + ", ".join(f"{t}: {len(x.values)} rows" for x, t in zip(examples, titles)) + "</html>"
"""
)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, the domain `mydata`, data and a trained model's folder, in the current folder."""
    monkeypatch.setattr(registry, "_registry", None)
    monkeypatch.setenv("POLYDIFF_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    name = f"promised_{os.getpid()}_{abs(hash(tmp_path))}"
    path = tmp_path / f"{name}.py"
    path.write_text(PLUGIN)
    with torch.random.fork_rng(devices=[]):
        series.model().save("run")
    series.write_data(tmp_path / "data")
    return path


def polydiff(plugin: Path, *words: str) -> int:
    return main(["-p", str(plugin), *words])


def test_a_metric_is_a_row_of_evaluate(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert polydiff(plugin, "evaluate", "mydata", "data", "--reference", "data", "--json") == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)["figures"]
    assert figures["mean_gap"] == 0
    assert set(figures) == {"energy_distance", "mean_gap", f"{plugin.stem}:energy_distance"}
    assert "Left out fails: the metric fails raised ValueError: no such luck" in err
    assert polydiff(plugin, "evaluate", "mydata", "data", "--reference", "data") == 0
    assert "mean_gap" in capsys.readouterr().out.partition("higher  the mean_gap")[0]


def test_an_exporter_is_a_format(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("sample", "run", "--steps", "2", "--seed", "3", "--label", "warm")
    assert polydiff(plugin, *words, "-n", "2", "--format", "tabs", "-o", "out") == 0
    assert sorted(p.name for p in Path("out").glob("*.tsv")) == ["0000.tsv", "0001.tsv"]
    record = json.loads(Path("out/0000.tsv.json").read_text())
    assert (record["exporter"], record["notes"]) == ("tabs.v1", ["names left out"])
    assert polydiff(plugin, *words, "-o", "plain") == 0  # the same sample, as the domain writes it
    plain = Path("plain/0000.csv").read_text().split()[1:]
    assert [round(float(x), 6) for x in Path("out/0000.tsv").read_text().split()] == list(map(float, plain))
    assert polydiff(plugin, *words, "--format", "tabs", "-o", "one.tsv") == 0
    assert Path("one.tsv").read_bytes() == Path("out/0000.tsv").read_bytes()
    assert polydiff(plugin, "replay", "out/0000.tsv.json") == 0
    assert polydiff(plugin, *words, "-n", "2", "--format", "tabs", "-o", "out", "--resume") == 0
    assert "2 were there already" in capsys.readouterr().out
    assert polydiff(plugin, *words, "--format", "tabz", "-o", "other") == 2
    line = "--format tabz: mydata writes .csv tabs silent. Did you mean 'tabs'?"
    assert line in capsys.readouterr().err
    assert polydiff(plugin, *words, "--format", "silent", "-o", "other") == 3
    assert "the exporter silent wrote no file 0000.silent" in capsys.readouterr().err


QUICK = ("--steps", "4", "--batch-size", "4", "--set", "config.width=16", "--set", "config.depth=1")


def test_a_logger_hears_the_training(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = ("--set", "training.log_every=2", "--set", "pictures.every=4", "--set", "pictures.steps=1")
    assert polydiff(plugin, "train", "mydata", "--data", "data", "-o", "new", *QUICK, *logs) == 0
    figures = ["examples_per_second", "gradient_norm", "loss", "rate"]
    heard = [json.loads(line) for line in Path("lines.jsonl").read_text().splitlines()]
    assert heard == [["train", "mydata"], [2, figures], [4, figures], [4, True], "closed"]
    err = capsys.readouterr().err
    assert err.count("No further logs from clumsy: the logger clumsy raised RuntimeError: disk of") == 1


def test_a_weighting_is_a_value_of_training(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train", "mydata", "--data", "data", *QUICK, "--set", "pictures.every=0")
    assert polydiff(plugin, *words, "-o", "new", "--set", "training.weighting=flat") == 0
    assert Path("weighed.txt").read_text() == "(4,) torch.float64 1.0"
    assert (
        json.loads(Path("new/model.json").read_text())["training"]["recipe"]["training"]["weighting"]
        == "flat"
    )
    capsys.readouterr()
    assert polydiff(plugin, *words, "-o", "bad", "--set", "training.weighting=flatt") == 2
    err = capsys.readouterr().err
    assert "training.weighting: unknown weighting 'flatt'. Did you mean 'flat'?" in err
    assert err.count("\n") == 1


def test_a_process_is_a_components_law(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = series.register().MyData
    losses = {}
    for law in ("gaussian", "doubled"):
        monkeypatch.setattr(kind, "processes", lambda self, law=law: {"rows": law})
        words = ("train", "mydata", "--data", "data", *QUICK, "--set", "pictures.every=0")
        assert polydiff(plugin, *words, "-o", law, "--set", "training.log_every=1") == 0
        losses[law] = json.loads(Path(law, "log.jsonl").read_text().splitlines()[0])["loss"]
        assert polydiff(plugin, "sample", law, "--steps", "2", "-o", f"{law}-out") == 0
    assert losses["doubled"] == pytest.approx(2 * losses["gaussian"])


def test_an_unknown_process_is_said(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(series.register().MyData, "processes", lambda self: {"rows": "gausian"})
    assert polydiff(plugin, "sample", "run", "--steps", "2") == 2
    assert "unknown process 'gausian'. Did you mean 'gaussian'?" in capsys.readouterr().err


def test_a_viewer_is_asked_for_by_the_kind_of_preview(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(path) for path in sorted(Path("data").rglob("*.csv"))[:2]]
    assert main(["view", *files, "-o", "plain.html"]) == 0  # nobody has a viewer for series
    assert Path("plain.html").read_text().count("data:image/png;base64,") == 2
    assert polydiff(plugin, "view", "mydata", *files, "-o", "page.html") == 0
    names = [Path(file).name for file in files]
    assert Path("page.html").read_text() == f"<html>{names[0]}: 12 rows, {names[1]}: 12 rows</html>"
    assert "page.html: 2 of mydata" in capsys.readouterr().out


def test_a_file_says_of_which_domain_it_is(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(next(Path("data/warm").glob("*.csv")))
    registry.get_registry().register(_preset())
    words = ("--steps", "2", "--seed", "0", "--strength", "0.3")
    assert polydiff(plugin, "sample", "--from", source, *words, "-o", "varied") == 0
    assert polydiff(plugin, "sample", "mydata", "--from", source, *words, "-o", "named") == 0
    assert Path("varied/0000.csv").read_bytes() == Path("named/0000.csv").read_bytes()
    capsys.readouterr()
    for folder in ("varied", "data"):  # by its records, and by its first file
        assert polydiff(plugin, "evaluate", folder, "--reference", "data", "--json") == 0
        assert json.loads(capsys.readouterr().out)["domain"] == "mydata"
    Path("a.bin").write_bytes(b"SERIES of bytes")
    assert polydiff(plugin, "sample", "--from", "a.bin") == 2  # guessed by its head, and not by its suffix
    assert "a.bin: mydata reads .csv." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "head", "line"),
    [
        ("a.bin", b"BOTH", "a.bin: audio and mydata can read it; say which is meant."),
        ("a.bin", b"????", "a.bin: no domain can read it. Installed: "),
        ("gone.bin", None, "gone.bin: no such file."),
    ],
)
def test_a_file_of_no_domain_or_of_several(
    plugin: Path, capsys: pytest.CaptureFixture[str], name: str, head: bytes | None, line: str
) -> None:
    if head is not None:
        Path(name).write_bytes(head)
    assert polydiff(plugin, "sample", "--from", name) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_one_callback_alone_is_called(plugin: Path) -> None:
    assert polydiff(plugin, "sample", "run", "--steps", "2", "-o", "out") == 0
    assert Path("rows.txt").read_text() == "row\n" * 2


def _preset() -> object:
    from polydiff.spec import PresetInfo

    return PresetInfo("mydata", "years", str(Path("run").absolute()), "CC0-1.0", default=True)
