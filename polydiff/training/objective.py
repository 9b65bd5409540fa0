"""The training objective: noise levels, dropped conditions and the weighted loss of a step.

What is drawn for step k is a function of (seed, k): noise levels, noise and dropped conditions of one batch
for all processes together, of which process r of n takes the places r, r + n, r + 2n, ... So two processes
learn from what one with twice the batch would, and nothing but k has to be remembered.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State
from polydiff.engine.noise import noise, uniform
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError
from polydiff.training.config import TrainingConfig
from polydiff.training.weighting import WEIGHTINGS

LOG_SNR_LIMIT = 20.0
"""Noise levels stay within ±20 in log_snr: beyond, float32 rounds the noise or the data away."""


class Batch(NamedTuple):
    """Clean states (B, N, ...), their masks, and encoded conditions (B, width)."""

    state: State
    mask: Mask
    cond: Cond


def noise_levels(config: TrainingConfig, schedule: Schedule, step: int, count: int) -> Tensor:
    """Times t (count,) float64 of one step's whole batch: one in each of `count` strata of equal
    probability, in random order."""
    offset = uniform(config.seed, "levels", step, (1,))[0]
    quantile = (torch.arange(count, dtype=torch.float64) + offset) / count
    normal = torch.special.ndtri(quantile.clamp(1e-6, 1 - 1e-6))
    log_snr = -2 * (config.log_sigma_mean + config.log_sigma_std * normal)
    t = schedule.t_of_log_snr(log_snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)).clamp(0, 1)
    # batches are sorted by length inside; strata must not be
    return t[uniform(config.seed, "strata", step, (count,))[0].argsort()]


def loss_weight(config: TrainingConfig, schedule: Schedule, t: Tensor, sigma_data: float) -> Tensor:
    """Weight of |x̂0 - x0|² at t, (B,) float64, and of what stands for it in other spaces (`Process.loss`):
    the function that config.weighting names in polydiff.training.weighting."""
    return WEIGHTINGS[config.weighting](torch.exp(schedule.log_snr(t)), sigma_data)


def sample_seeds(seed: int, step: int, count: int) -> Tensor:
    """int64 seeds (count,) for the noise of one step's whole batch."""
    high, low = (uniform(seed, "samples", step, (count, 2))[0] * 2**32).long().unbind(1)
    return (high << 32) | low


def dropped_conditions(
    names: Collection[str], probability: float, seed: int, step: int, count: int
) -> dict[str, Tensor]:
    """Which conditions of which sample of one step's whole batch become null: bool (count,) for each name.

    With `probability` a sample loses all its conditions, which trains the unconditional model that guidance
    needs. Where there are several, each is also lost by itself, half as often, so that a user may leave any
    of them open.
    """
    everything = uniform(seed, "drop", step, (count,))[0] < probability
    if len(names) < 2:
        return dict.fromkeys(names, everything)
    return {
        name: everything | (uniform(seed, f"drop/{name}", step, (count,))[0] < probability / 2)
        for name in names
    }


@dataclass(frozen=True)
class Objective:
    """The loss of a step. `null` holds the encoded null (1, width) of each condition.

    Errors: UsageError when a batch has not config.batch_size samples, ValueError when a condition no null.
    """

    processes: Processes
    schedule: Schedule
    config: TrainingConfig
    sigma_data: float
    null: Cond
    rank: int = 0
    ranks: int = 1

    @property
    def learned(self) -> tuple[str, ...]:
        """The components that have a loss."""
        return tuple(name for name, process in self.processes.items() if not process.passive)

    def losses(self, denoiser: Denoiser, batch: Batch, step: int) -> Tensor:
        """The weighted loss of each learned component, (components,), a mean over this process's samples."""
        sizes = {len(x) for x in (*batch.state.values(), *batch.cond.values())}
        if sizes != {self.config.batch_size}:
            raise UsageError(
                f"the batch of step {step} has {sorted(sizes)} samples, not {self.config.batch_size}"
            )
        device = next(iter(batch.state.values())).device
        whole, place = self.config.batch_size * self.ranks, slice(self.rank, None, self.ranks)
        t = noise_levels(self.config, self.schedule, step, whole)[place].to(device)
        seeds = sample_seeds(self.config.seed, step, whole)[place].to(device)
        x = {
            name: process.corrupt(
                batch.state[name],
                noise(seeds, f"train/{name}", 0, process.noise_shape(tuple(batch.state[name].shape[1:]))),
                t,
                self.schedule,
                batch.mask.get(name),
            )
            for name, process in self.processes.items()
        }
        denoised = denoiser(x, t, batch.mask, self._with_nulls(batch.cond, step))
        weight = loss_weight(self.config, self.schedule, t, self.sigma_data)
        losses = (
            self.processes[name].loss(
                denoised[name], batch.state[name], x[name], t, self.schedule, batch.mask.get(name)
            )
            for name in self.learned
        )
        return torch.stack([(weight * loss).mean() for loss in losses])

    def _with_nulls(self, cond: Cond, step: int) -> Cond:
        """The conditions with this process's share of the dropped ones replaced."""
        probability, count = self.config.condition_dropout, self.config.batch_size * self.ranks
        if not cond or probability == 0:
            return cond
        missing = cond.keys() - self.null.keys()
        if missing:
            raise ValueError(f"condition_dropout needs the null of {', '.join(sorted(missing))}")
        dropped = dropped_conditions(tuple(cond), probability, self.config.seed, step, count)
        result = {}
        for name, value in cond.items():
            gone = dropped[name][self.rank :: self.ranks].to(value.device)
            gone = gone.reshape(-1, *[1] * (value.dim() - 1))
            result[name] = torch.where(gone, self.null[name].to(value), value)
        return result
