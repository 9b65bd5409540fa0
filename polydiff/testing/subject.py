"""What the suite examines: a domain configured from its own examples, and a model with random weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from torch import Tensor

from polydiff.dataset import Dataset
from polydiff.domain import Domain
from polydiff.model import Model
from polydiff.models.processes import processes_of
from polydiff.plugins.registry import get_registry
from polydiff.training.loop import Batch
from polydiff.workflows.training_data import TrainingData

__all__ = ["Subject", "padded"]


@dataclass(frozen=True)
class Subject:
    """The domain under test with everything that the tests share."""

    kind: type[Domain]
    domain: Domain
    data: Dataset
    examples: list[Any]
    model: Model

    @classmethod
    def of(cls, name: str, data: Dataset, config: Mapping[str, Any]) -> Subject:
        """Configure a domain from examples. Its network gets random weights: a fresh one, whose last layer
        is often zero, would pass many tests without doing anything."""
        kind = get_registry().domain(name)
        domain = kind(kind.configure(data, config))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = domain.network()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter += 0.05 * torch.randn_like(parameter)
        return cls(kind, domain, data, data.examples(), Model.create(domain, network))

    @cached_property
    def fault(self) -> str:
        """Why the network does not run, empty where it does: a batch of two goes through it once."""
        try:
            x, mask, cond = self.batch(2)
            with torch.no_grad():
                output = self.model.network(x, torch.zeros(2), mask, cond)
            drawn = {name for name, process in processes_of(self.domain).items() if not process.passive}
            names = sorted(drawn - output.keys())
        except Exception as error:
            return f"it raised {type(error).__name__}: {error}"
        return f"it gives nothing for {', '.join(names)}" if names else ""

    def needs_network(self) -> None:
        """Skip a test that cannot pass where the network does not run."""
        if self.fault:
            pytest.skip(f"the network does not run (see the clause smoke): {self.fault.splitlines()[0]}")

    def conditions(self, n: int) -> dict[str, list[Any]]:
        """The conditions of the first n examples, as `Model.sample` takes them."""
        names = self.domain.conditions().names
        return {name: self.data.labels(name)[:n] for name in names}

    def batch(self, n: int) -> Batch:
        """The first n examples as the training loop gets them."""
        data = TrainingData(self.domain, self.data[:n], n, seed=0)
        return data(0)

    def noise_examples(self, n: int) -> list[Any]:
        """Examples decoded from pure noise of the shapes of the first n examples."""
        made = []
        for i, example in enumerate(self.examples[:n]):
            state, mask = self.domain.encode([example])
            generator = torch.Generator().manual_seed(i)
            noisy = {name: torch.randn(x.shape, generator=generator) for name, x in state.items()}
            made += self.domain.decode(noisy, mask)
        return made

    def light_module(self) -> str | None:
        """The module that discovery imports; None for a domain that was registered by hand."""
        registry = get_registry()
        name = registry.owner(registry.domain_info(self.kind.name)).name
        found = [point.value for point in entry_points(group="polydiff.plugins", name=name)]
        return found[0] if found else name if name in sys.modules else None


def padded(x: Mapping[str, Tensor], count: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch with `count` padded nodes at the end of every component, and the mask that says so."""
    state, mask = {}, {}
    for name, value in x.items():
        extra = value.new_zeros(len(value), count, *value.shape[2:])
        state[name] = torch.cat([value, extra], dim=1)
        mask[name] = torch.arange(value.shape[1] + count).expand(len(value), -1) < value.shape[1]
    return state, mask
