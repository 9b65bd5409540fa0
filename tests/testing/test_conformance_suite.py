"""The conformance suite finds what is broken, and says which clause it is and what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from polydiff.dataset import Dataset
from polydiff.domain import Domain, Metric, SampleRequest
from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff.plugins import registry
from polydiff.testing import DomainSuite
from polydiff.testing.subject import Subject
from polydiff.testing.words import ContractBroken
from tests import series

MyData: Any = series.register().MyData


class Leaky(MyData):
    """Its network averages over padded nodes too."""

    def network(self) -> Any:
        class Mean(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(1))

            def forward(self, x: Any, c_noise: Any, mask: Any, cond: Any) -> Any:
                return {"rows": x["rows"] * self.scale + x["rows"].mean(1, keepdim=True)}

        return Mean()


class Forgetful(MyData):
    def decode(self, state: Any, mask: Any) -> Any:
        return [type(x)(x.values * 1.01, x.columns) for x in super().decode(state, mask)]


class Unscaled(MyData):
    def encode(self, examples: Any) -> Any:
        state, mask = super().encode(examples)
        return {"rows": state["rows"] * 50}, mask

    def decode(self, state: Any, mask: Any) -> Any:
        return super().decode({"rows": state["rows"] / 50}, mask)


class Credulous(MyData):
    def load(self, path: Path) -> Any:
        try:
            return super().load(path)
        except UsageError:
            return series.series(1.0, 2.0)


class Crashing(MyData):
    def load(self, path: Path) -> Any:
        return series.series(float(Path(path).read_text().splitlines()[0]))


class Restless(MyData):
    def shapes(self, request: SampleRequest) -> Any:
        return {"rows": (request.options.length or int(torch.randint(3, 2000, ())), 1)}


class Backward(MyData):
    def metrics(self) -> Any:
        return {name: Metric(m.function, "higher", m.help) for name, m in super().metrics().items()}


class Deaf(MyData):
    def network(self) -> Any:
        network = super().network()
        forward = network.forward
        network.forward = lambda x, c_noise, mask, cond: forward(x, c_noise, mask, {})
        return network


class Rootless(MyData):
    def network(self) -> Any:
        network = super().network()
        forward = network.forward

        def rooted(x: Any, c_noise: Any, mask: Any, cond: Any) -> Any:
            return {k: v * c_noise.sqrt().mean() for k, v in forward(x, c_noise, mask, cond).items()}

        network.forward = rooted
        return network


class Careless(MyData):
    def finish(self, example: Any, request: SampleRequest) -> Any:
        return type(example)(example.values + 1, example.columns)


class Blind(MyData):
    def preview(self, example: Any) -> bytes:
        return b"GIF89a"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset: Dataset = MyData.dataset(series.write_data(tmp_path_factory.mktemp("data")))
    return dataset


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda: [])
    monkeypatch.setattr(registry, "_registry", None)


def examine(kind: type[Domain], data: Dataset, test: str, folder: Path) -> None:
    """One test of the suite, applied to a domain class that is the only one there is."""
    registry._registry = registry.Registry()
    registry._registry.register(kind)

    class TestIt(DomainSuite):
        domain = kind.name
        region = "0:6"

    subject = Subject.of(kind.name, data, {"width": 16, "depth": 1})
    function: Callable[..., None] = getattr(TestIt(), f"test_{test}")
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    function(**{k: v for k, v in {"subject": subject, "tmp_path": folder}.items() if k in names})


@pytest.mark.parametrize(
    ("kind", "test", "clause", "what"),
    [
        (Leaky, "masks", "masks do not leak", "three padded nodes follow"),
        (Forgetful, "encode_decode", "decode(encode(x)) is x", "more than 0.0001"),
        (Unscaled, "unit_variance", "variance is about one", "standard deviation"),
        (Credulous, "bad_files", "what is wrong with a file", "loaded as if it were good"),
        (Crashing, "bad_files", "what is wrong with a file", "it raised"),
        (Restless, "seeds", "the same in whatever company", "differs"),
        (Backward, "metrics", "energy_distance prefers data to noise", "for noise"),
        (Deaf, "conditions_matter", "conditions reach the network", "does not depend on label"),
        (Rootless, "network", "finite forward and backward", "not finite"),
        (Careless, "inpainting", "what is kept is in the sample", "away"),
        (Blind, "preview", "an example has a picture", "no PNG"),
    ],
)
def test_a_broken_clause_is_named(
    kind: type[Domain], test: str, clause: str, what: str, data: Dataset, tmp_path: Path
) -> None:
    examine(MyData, data, test, tmp_path)  # the honest one passes
    with pytest.raises(ContractBroken) as error:
        examine(kind, data, test, tmp_path)
    words = str(error.value)
    assert clause in words.partition("is broken")[0]
    assert what in words
    assert "\nWhat to do: " in words


def test_a_list_of_known_failures_is_strict() -> None:
    class TestIt(DomainSuite):
        domain = "mydata"
        xfail = {"masks": "known"}  # noqa: RUF012

    marks = {mark.name: mark.kwargs for mark in TestIt.test_masks.pytestmark}  # type: ignore[attr-defined]
    assert marks == {"xfail": {"reason": "known", "strict": True}}
    with pytest.raises(UsageError, match=r"no clause 'mask'\. Did you mean 'masks'\?"):
        type("TestIt", (DomainSuite,), {"domain": "mydata", "xfail": {"mask": "?"}})


def test_a_known_failure_does_not_fail_the_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_it.py").write_text(
        "from polydiff.testing import DomainSuite\n"
        "class TestIt(DomainSuite):\n"
        "    domain = 'mydata'\n"
        f"    data = {str(series.write_data(tmp_path / 'data'))!r}\n"
        "    config = {'width': 16, 'depth': 1}\n"
        "    xfail = {'unit_variance': 'a slip', 'inpainting': 'no region is given'}\n"
    )
    registry._registry = registry.Registry()
    registry._registry.register(MyData)
    words = ["-p", "no:cacheprovider", "-k", "unit_variance or inpainting", "--rootdir", str(tmp_path)]
    assert pytest.main([*words, str(tmp_path)]) == pytest.ExitCode.TESTS_FAILED
    out = capsys.readouterr().out
    assert "1 failed" in out  # the variance is one after all
    assert "XPASS(strict)" in out
    assert "1 xfailed" in out


def test_a_model_in_the_suite_is_not_a_blank_one(data: Dataset) -> None:
    registry._registry = registry.Registry()
    registry._registry.register(MyData)
    subject = Subject.of("mydata", data, {"width": 16, "depth": 1})
    assert isinstance(subject.model, Model)
    x, mask, cond = subject.batch(2)
    assert float(subject.model.network(x, torch.zeros(2), mask, cond)["rows"].abs().max()) > 0


class Mute(MyData):
    """Its network does not run at all."""

    def network(self) -> Any:
        network = super().network()
        network.forward = lambda x, c_noise, mask, cond: {"row": x["rows"]}
        return network


@pytest.mark.parametrize("test", ["network", "seeds", "solvers", "provenance", "inpainting"])
def test_what_needs_a_network_that_does_not_run_is_skipped_with_words(
    test: str, data: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ContractBroken, match="'the network runs once' is broken: it gives nothing for rows"):
        examine(Mute, data, "smoke", tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"the network does not run .* it gives nothing for rows"):
        examine(Mute, data, test, tmp_path)


def test_the_smoke_clause_comes_first(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from polydiff.testing import DomainSuite\nclass TestIt(DomainSuite):\n    domain = 'mydata'\n"
    )
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[0].endswith("test_smoke"), done.stdout
