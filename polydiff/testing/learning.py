"""A short training on four examples."""

from __future__ import annotations

from pathlib import Path

import torch

from polydiff.engine.denoisers import precondition
from polydiff.engine.schedules import EDM
from polydiff.models.processes import processes_of
from polydiff.testing.subject import Subject
from polydiff.training.loop import TrainingConfig, fit, make_accelerator
from polydiff.training.objective import Objective

__all__ = ["DRAWS", "learn_four"]

DRAWS = 8  # of noise levels and noise, over which the loss is a mean


def learn_four(subject: Subject, steps: int, folder: Path) -> tuple[float, float]:
    """The loss on four examples, at the same noise levels and noise, before and after training on them."""
    batch, processes, schedule = subject.batch(4), processes_of(subject.domain), EDM()
    config = TrainingConfig(
        steps=steps,
        batch_size=4,
        learning_rate=2e-3,
        warmup=10,
        condition_dropout=0.0,
        checkpoint_every=steps,
    )
    objective = Objective(processes, schedule, config, 1.0, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = subject.domain.network()

    @torch.no_grad()
    def loss() -> float:
        denoiser = precondition(network, schedule, processes=processes)
        return sum(float(objective.losses(denoiser, batch, draw).sum()) for draw in range(DRAWS)) / DRAWS

    before = loss()
    fit(network, processes, schedule, lambda step: batch, config, folder, accelerator=make_accelerator("cpu"))
    return before, loss()
