"""Training of a judge: on real examples alone, changed a little each time they are seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from polydiff.evaluation.judges import Choices, Judge, JudgeKind

__all__ = ["JudgeTraining", "drawn", "in_rounds", "sharpen", "train_judge"]

#: examples, already loaded, and a generator of random numbers, to the arguments of the network
Inputs = Callable[[Sequence[Any], np.random.Generator], tuple[Tensor, ...]]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class JudgeTraining:
    """How a judge is trained. rate: the highest of a one-cycle schedule. smoothing: of the labels. dropout:
    of the network. sharpened_on: at most so many unchanged examples set how sure its answers are."""

    rate: float
    weight_decay: float
    dropout: float
    smoothing: float
    sharpened_on: int


def train_judge(
    kind: JudgeKind,
    examples: Sequence[Callable[[], Any]],
    labels: Mapping[str, Sequence[str]],
    choices: Choices,
    inputs: Inputs,
    batches: Callable[[np.random.Generator], Iterable[Index]],
    steps: int,
    how: JudgeTraining,
    facts: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Judge:
    """A judge of examples that are labelled for each of its tasks.

    Args:
        examples: functions that load one each.
        inputs: what the network is shown of a batch of them, changed at random.
        batches: the places of the examples of each of `steps` batches; see `in_rounds` and `drawn`.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    judge = kind.new(choices, facts)
    network: nn.Module = judge.network
    answers = {
        task: torch.tensor([choices[task].index(name) for name in names]) for task, names in labels.items()
    }
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=how.rate, total_steps=steps)
    start, losses = time.time(), []
    network.train()
    for step, index in enumerate(batches(random)):
        logits = network(*inputs([examples[i]() for i in index], random), dropout=how.dropout)
        loss = torch.stack(
            [F.cross_entropy(logits[t], answers[t][index], label_smoothing=how.smoothing) for t in choices]
        ).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            took = time.time() - start
            print(f"step {step + 1} of {steps}: loss {np.mean(losses):.3f}, {took:.0f} s", flush=True)
            losses = []
    network.eval()
    some = random.choice(len(examples), min(len(examples), how.sharpened_on), replace=False)
    features, _ = judge.assess([examples[i]() for i in some])
    for task in choices:
        sharpen(judge.network.heads[task], features, answers[task][some])
    return judge


def in_rounds(count: int, size: int, rounds: int) -> Callable[[np.random.Generator], Iterator[Index]]:
    """Batches in which each of `count` examples occurs about once a round."""

    def batches(random: np.random.Generator) -> Iterator[Index]:
        for _ in range(rounds):
            order = random.permutation(count)
            yield from (order[at : at + size] for at in range(0, count - size + 1, size))

    return batches


def drawn(
    count: int, size: int, steps: int, chances: NDArray[Any] | None = None
) -> Callable[[np.random.Generator], Iterator[Index]]:
    """`steps` batches of examples drawn anew each time, with the given chances."""
    shares = None if chances is None else chances / chances.sum()

    def batches(random: np.random.Generator) -> Iterator[Index]:
        for _ in range(steps):
            yield random.choice(count, size, replace=False, p=shares)

    return batches


@torch.no_grad()
def sharpen(head: nn.Linear, features: Tensor, answers: Tensor) -> None:
    """Scale a head's logits by what fits the true answers best (temperature scaling, Guo et al. 2017).

    Training with smoothed labels leaves a judge too unsure, and scores such as the inception score read
    certainty. features: (n, d) of unchanged examples; answers: (n,) their choices.
    """
    logits = head(features)
    scales = torch.linspace(0.5, 8, 76)
    costs = torch.stack([F.cross_entropy(scale * logits, answers) for scale in scales])
    best = scales[int(costs.argmin())]
    head.weight.mul_(best)
    head.bias.mul_(best)
