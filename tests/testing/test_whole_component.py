"""A domain of two components that keeps one of them whole passes the suite's clause on what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from polydiff.domain import Domain, SampleRequest
from polydiff.engine.processes import Gaussian
from polydiff.errors import UsageError
from polydiff.nn import NoiseEmbedding
from polydiff.plugins import registry
from polydiff.testing import DomainSuite
from polydiff.testing.subject import Subject
from polydiff.testing.words import ContractBroken

SHAPES = {"sound": (16, 4), "trace": (10, 2)}


class Net(nn.Module):
    """Each component is read through the mean of both."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.noise = NoiseEmbedding(width)
        self.into = nn.ModuleDict({name: nn.Linear(shape[1], width) for name, shape in SHAPES.items()})
        self.out = nn.ModuleDict({name: nn.Linear(width, shape[1]) for name, shape in SHAPES.items()})

    def forward(self, x: Any, c_noise: Any, mask: Any, cond: Any) -> Any:
        hidden = {name: self.into[name](x[name]) for name in SHAPES}
        shared = self.noise(c_noise) + sum(h.mean(1) for h in hidden.values())
        return {name: self.out[name](torch.tanh(hidden[name] + shared[:, None])) for name in SHAPES}


class Duo(Domain):
    """A sound and the trace of a sensor that belongs to it, in one .npz."""

    name = "duo"
    suffixes = (".npz",)
    capabilities = frozenset({"variation", "inpaint"})

    def load(self, path: Path) -> Any:
        try:
            with np.load(path) as file:
                return file["sound"], file["trace"]
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path}: not a duo ({error}).") from error

    def save(self, example: Any, path: Path) -> list[str]:
        with Path(path).open("wb") as file:
            np.savez(file, sound=example[0], trace=example[1])
        return []

    def encode(self, examples: Any) -> Any:
        parts = zip(SHAPES, zip(*examples, strict=True), strict=True)
        return {name: torch.tensor(np.stack(part), dtype=torch.float32) for name, part in parts}, {}

    def decode(self, state: Any, mask: Any) -> Any:
        return list(zip(state["sound"].numpy(), state["trace"].numpy(), strict=True))

    def shapes(self, request: SampleRequest) -> Any:
        return SHAPES

    def processes(self) -> Any:
        return {name: Gaussian() for name in SHAPES}

    def network(self) -> Any:
        return Net()

    def known(self, request: SampleRequest) -> Any:
        state = {name: values[0] for name, values in self.encode([request.source])[0].items()}
        return state, {n: torch.full((len(x),), n == self.kept(request)) for n, x in state.items()}

    def finish(self, example: Any, request: SampleRequest) -> Any:
        if request.keep is None and request.redo is None:
            return example
        kept = list(SHAPES).index(self.kept(request))
        return tuple((request.source if i == kept else example)[i] for i in range(2))

    def kept(self, request: SampleRequest) -> str:
        named = request.keep or request.redo
        if named not in SHAPES:
            raise UsageError(f"{named!r}: keep sound or trace.")
        return named if request.keep else next(name for name in SHAPES if name != named)

    def preview(self, example: Any) -> bytes:
        return b""


class Careless(Duo):
    def finish(self, example: Any, request: SampleRequest) -> Any:
        return tuple(part + 1 for part in super().finish(example, request))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(8):
        parts = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
        np.savez(tmp_path / f"{number}.npz", **parts)  # type: ignore[arg-type]
    return tmp_path


def examine(kind: type[Domain], data: Path, part: str) -> None:
    registry._registry = registry.Registry()
    registry._registry.register(kind)

    class TestIt(DomainSuite):
        domain = kind.name
        region = part

    TestIt().test_inpainting(Subject.of(kind.name, kind.dataset(data), {}))


@pytest.mark.parametrize("part", SHAPES)
def test_what_is_kept_may_be_a_whole_component(
    part: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "installed", lambda: [])
    monkeypatch.setattr(registry, "_registry", None)
    examine(Duo, data, part)
    with pytest.raises(ContractBroken, match="what is kept is in the sample"):
        examine(Careless, data, part)
