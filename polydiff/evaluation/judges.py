"""Judges: small networks that name what an example is, and whose features tell sets of examples apart.

A judge on disk is a folder of judge.json (what it was trained on, what it can answer) and
weights.safetensors (16 bits). Its network has `features`, and a linear head a task in `heads`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polydiff.errors import UsageError
from polydiff.support.files import atomic_write

__all__ = ["Choices", "Judge", "JudgeKind", "stacked"]

ABOUT, WEIGHTS = "judge.json", "weights.safetensors"
Choices = dict[str, tuple[str, ...]]


def stacked(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs of one shape as a batch."""
    return (torch.stack(list(inputs)),)


@dataclass(frozen=True)
class JudgeKind:
    """What the judges of a domain have in common.

    folder: where those that ship lie. network: from {task: number of choices} to the network. inputs: what
    the network is shown of an example, given the judge's facts. batch: how inputs become the arguments of the
    network's `features`. batch_size: how many examples it sees at once. only_task: the task of judges whose
    judge.json has one list of choices.
    """

    folder: Path
    network: Callable[[dict[str, int]], nn.Module]
    inputs: Callable[[Any, Mapping[str, Any]], Tensor]
    batch: Callable[[Sequence[Tensor]], tuple[Tensor, ...]] = stacked
    batch_size: int = 1
    only_task: str = ""

    def new(self, choices: Choices, facts: Mapping[str, Any] | None = None) -> Judge:
        """An untrained judge."""
        network = self.network({task: len(names) for task, names in choices.items()})
        return Judge(self, network, choices, dict(facts or {}))

    def load(self, name: str | Path) -> Judge:
        """The judge that ships under this name, or one from a folder. Raises UsageError in one line, with the
        names of those that ship, where there is none."""
        return _load(self, name)


@dataclass(frozen=True)
class Judge:
    """A judge. choices: what each task can answer, in the order of the logits. facts: what else judge.json
    says of how it works, such as a sample rate. card: what it was trained on, and how good it is."""

    kind: JudgeKind
    network: Any
    choices: Choices
    facts: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def assess(self, examples: Sequence[Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (n, width) of examples and, for each task, probabilities (n, choices)."""
        size, features = self.kind.batch_size, []
        for start in range(0, len(examples), size):
            inputs = [self.kind.inputs(example, self.facts) for example in examples[start : start + size]]
            features.append(self.network.features(*self.kind.batch(inputs)))
        found = torch.cat(features)
        return found, self.answers(found)

    def answers(self, features: Tensor) -> dict[str, Tensor]:
        """For each task, probabilities (n, choices) for features (n, width)."""
        return {task: self.network.heads[task](features).softmax(-1) for task in self.choices}

    def accuracy(self, examples: Sequence[Any], labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """The share of examples that the judge names as they are labelled, for each task in `labels`."""
        _, answers = self.assess(examples)
        true = {
            task: torch.tensor([self.choices[task].index(name) for name in names])
            for task, names in labels.items()
        }
        return {task: float((answers[task].argmax(1) == true[task]).double().mean()) for task in labels}

    def save(self, folder: Path) -> None:
        """Write the judge's folder."""
        state = self.network.state_dict()
        tensors = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
        with atomic_write(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary)
        about = {**self.facts, "choices": self.choices, "card": self.card}
        with atomic_write(folder / ABOUT) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@lru_cache(maxsize=8)
def _load(kind: JudgeKind, name: str | Path) -> Judge:
    shipped = kind.folder
    folder = shipped / name if isinstance(name, str) and (shipped / name).is_dir() else Path(name)
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(path.parent.name for path in shipped.glob(f"*/{ABOUT}"))) or "none"
        raise UsageError(f"{folder}: no judge there ({error}). Shipped judges: {known}.") from error
    listed = about["choices"] if isinstance(about["choices"], dict) else {kind.only_task: about["choices"]}
    choices = {task: tuple(names) for task, names in listed.items()}
    facts = {key: value for key, value in about.items() if key not in ("choices", "card")}
    judge = kind.new(choices, facts)
    judge.network.load_state_dict(tensors)
    return Judge(kind, judge.network.float().eval(), choices, facts, about["card"])
