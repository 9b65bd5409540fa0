"""A run of a few milliseconds a step that has everything: masks, a carried component, conditions, dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polydiff.engine.noise import noise
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.schedules import EDM
from polydiff.training.loop import Batch, TrainingConfig, TrainingState, fit
from polydiff.training.order import BatchOrder

EXAMPLES, NODES, LABELS = 20, 5, 3
LENGTHS = [2 + i % (NODES - 1) for i in range(EXAMPLES)]
PROCESSES = {"points": Gaussian(), "context": Fixed()}
NULL = {"label": torch.eye(LABELS + 1)[LABELS:], "size": torch.zeros(1, 2)}


class SmallNetwork(nn.Module):
    """Node-wise; draws dropout of its own and has a buffer that is no floating-point number."""

    calls: Tensor

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.inside = nn.Linear(2 + 1 + 1 + LABELS + 1 + 2, 16)
        self.dropout = nn.Dropout(dropout)
        self.outside = nn.Linear(16, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(
        self, x: dict[str, Tensor], c_noise: Tensor, mask: dict[str, Tensor], cond: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        if self.training:
            self.calls += 1
        nodes = x["points"].shape[1]
        rows = torch.cat([c_noise[:, None], cond["label"], cond["size"]], 1)
        features = torch.cat([x["points"], x["context"], rows[:, None].expand(-1, nodes, -1)], 2)
        return {"points": self.outside(self.dropout(torch.nn.functional.silu(self.inside(features))))}


def small_network(dropout: float = 0.1) -> SmallNetwork:
    """Always the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return SmallNetwork(dropout)


def small_batches(batch_size: int = 4, seed: int = 0, rank: int = 0, ranks: int = 1) -> Any:
    """step -> Batch. The label is the first example number of the batch, so that a test can see the order."""
    order = BatchOrder(LENGTHS, batch_size, seed, rank, ranks)
    points = noise(list(range(EXAMPLES)), "examples", 0, (NODES, 2))

    def batch(step: int) -> Batch:
        indices = order(step)
        mask = torch.arange(NODES) < torch.tensor([LENGTHS[i] for i in indices])[:, None]
        state = {"points": points[indices] * mask[..., None], "context": points[indices][..., :1]}
        label = torch.eye(LABELS + 1)[[i % LABELS for i in indices]]
        size = torch.tensor([[i / EXAMPLES, 1.0] for i in indices])
        return Batch(state, {"points": mask}, {"label": label, "size": size})

    return batch


def small_config(steps: int = 8, **changes: Any) -> TrainingConfig:
    settings = {"batch_size": 4, "learning_rate": 1e-2, "warmup": 3, "condition_dropout": 0.3, **changes}
    return TrainingConfig(steps=steps, **settings)


def small_fit(folder: Path, steps: int = 8, *, dropout: float = 0.1, **arguments: Any) -> TrainingState:
    """Train; keyword arguments of `fit` go there, others into the configuration."""
    names = ("resume", "accelerator", "callbacks", "facts", "schedule", "batches", "network")
    given = {name: arguments.pop(name) for name in names if name in arguments}
    config = small_config(steps, **arguments)
    network = given.pop("network", None) or small_network(dropout)
    batches = given.pop("batches", None) or small_batches(config.batch_size, config.seed)
    schedule = given.pop("schedule", EDM())
    return fit(network, PROCESSES, schedule, batches, config, folder, null=NULL, **given)
