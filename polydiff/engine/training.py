"""The training loop: one function for one processor, one GPU, or several processes under torchrun.

Step k depends on (seed, rank, k) and the weights alone: batches, noise levels, noise and condition
dropout are all functions of those numbers, so a run that was stopped and resumed is the run that was
never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from polydiff.engine.checkpoints import load_checkpoint, save_checkpoint
from polydiff.engine.denoisers import Cond, Mask, State, precondition
from polydiff.engine.ema import power_exponent, update_ema
from polydiff.engine.noise import as_seeds, noise, uniform
from polydiff.engine.processes import Fixed, Process
from polydiff.engine.schedules import Schedule


class Batch(NamedTuple):
    """Clean states (B, N, ...), their masks, and encoded conditions (B, width)."""

    state: State
    mask: Mask
    cond: Cond


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    log_sigma_mean and log_sigma_std place the noise levels: log(sigma / alpha) is normal with these
    (Karras et al. 2022, section 5, for data of unit variance). ema_width is the relative width of the
    weight average. The learning rate rises over `warmup` steps, stays, and falls linearly to zero over
    the last `decay` of the run.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    warmup: int = 200
    decay: float = 0.4
    weight_decay: float = 0.01
    clip: float = 1.0
    condition_dropout: float = 0.1
    weighting: Literal["edm", "min_snr"] = "edm"
    log_sigma_mean: float = -0.4
    log_sigma_std: float = 1.4
    ema_width: float = 0.1
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 500


@dataclass
class TrainingState:
    """What a callback may look at after a step: the average is the dictionary to sample from."""

    step: int
    network: nn.Module
    average: dict[str, Tensor]
    log: dict[str, float] = field(default_factory=dict)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step `step`, counted from 0."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = min(1.0, (config.steps - step) / max(1.0, config.decay * config.steps))
    return config.learning_rate * min(rise, fall)


def noise_levels(config: TrainingConfig, schedule: Schedule, step: int, rank: int, ranks: int) -> Tensor:
    """Times t (B,) float64, one a stratum: across all processes the quantiles are evenly spread."""
    total = config.batch_size * ranks
    offset = uniform(config.seed, "levels", step, (1,))[0]
    quantile = (torch.arange(rank, total, ranks, dtype=torch.float64) + offset) / total
    normal = torch.special.ndtri(quantile.clamp(1e-6, 1 - 1e-6))
    t = schedule.t_of_log_snr(-2 * (config.log_sigma_mean + config.log_sigma_std * normal))
    # batches are sorted by length inside; strata must not be
    shuffle = uniform(config.seed, f"strata/{rank}", step, (len(t),))[0].argsort()
    return t[shuffle].clamp(0, 1)


def loss_weight(config: TrainingConfig, schedule: Schedule, t: Tensor, sigma_data: float) -> Tensor:
    """Weight of |x̂0 - x0|² at t, (B,).

    edm: 1 / c_out², every level counts alike for the network's own output (Karras et al. 2022, eq. 8).
    min_snr: min(snr, 5) + 1 / sigma_data² (Hang et al. 2023, eq. 6, kept positive at high noise).
    """
    snr = torch.exp(schedule.log_snr(t))
    if config.weighting == "min_snr":
        return snr.clamp(max=5.0) + 1 / sigma_data**2
    return snr + 1 / sigma_data**2


def sample_seeds(seed: int, rank: int, step: int, count: int) -> Tensor:
    """Seeds (B,) for the noise of one step."""
    draws = uniform(as_seeds(seed), f"samples/{rank}", step, (count,))[0]
    return (draws * 2.0**53).long()


def drop_conditions(cond: Cond, null: Cond, probability: float, seed: int, rank: int, step: int) -> Cond:
    """Conditions with whole samples, and half as often single conditions, replaced by their null value.

    The sample-wide drop trains the unconditional model that guidance needs; the single ones let a user
    leave any condition open.
    """
    if not cond or probability <= 0:
        return cond
    count = len(next(iter(cond.values())))
    everything = uniform(seed, f"drop/{rank}", step, (count,))[0] < probability
    dropped = {}
    for name, value in cond.items():
        alone = uniform(seed, f"drop/{rank}/{name}", step, (count,))[0] < probability / 2
        gone = (everything | alone).to(value.device).reshape(-1, *[1] * (value.dim() - 1))
        dropped[name] = torch.where(gone, null[name].to(value), value)
    return dropped


def fit(
    network: nn.Module,
    processes: Mapping[str, Process],
    schedule: Schedule,
    batches: Callable[[int], Batch],
    config: TrainingConfig,
    folder: Path,
    *,
    sigma_data: float = 1.0,
    null: Cond | None = None,
    resume: bool = False,
    accelerator: Accelerator | None = None,
    callbacks: tuple[Callable[[TrainingState], None], ...] = (),
) -> TrainingState:
    """Train `network` and return its last state; checkpoints go to `folder`.

    Args:
        batches: step (from 0) to this process's Batch; must be a pure function.
        null: encoded null of each condition (1, width), needed for condition dropout.
        resume: go on from the folder's checkpoint; the result is bit for bit that of an unbroken run.
        callbacks: called on the main process after every step.
    """
    accelerator = accelerator or Accelerator()
    rank, ranks, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    average = {name: value.detach().clone().to(device) for name, value in network.state_dict().items()}
    begin = 0
    if resume:
        begin = load_checkpoint(folder, network, average, optimizer, config)
    wrapped, optimizer = accelerator.prepare(network, optimizer)
    carried = [name for name, process in processes.items() if isinstance(process, Fixed)]
    denoiser = precondition(wrapped, schedule, sigma_data, carried=carried)
    gamma = power_exponent(config.ema_width)
    state = TrainingState(begin, network, average)
    for step in range(begin, config.steps):
        torch.manual_seed(hash((config.seed, rank, step)) % 2**63)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        batch = batches(step)
        x0 = {name: value.to(device) for name, value in batch.state.items()}
        mask = {name: value.to(device) for name, value in batch.mask.items()}
        cond: Cond = {name: value.to(device) for name, value in batch.cond.items()}
        cond = drop_conditions(cond, null or {}, config.condition_dropout, config.seed, rank, step)
        t = noise_levels(config, schedule, step, rank, ranks).to(device)
        seeds = sample_seeds(config.seed, rank, step, len(t)).to(device)
        x = {
            name: process.corrupt(
                x0[name],
                noise(seeds, f"train/{name}", 0, process.noise_shape(tuple(x0[name].shape[1:]))),
                t,
                schedule,
                mask.get(name),
            )
            for name, process in processes.items()
        }
        denoised = denoiser(x, t, mask, cond)
        weight = loss_weight(config, schedule, t, sigma_data)
        losses = {
            name: (weight * process.loss(denoised[name], x0[name], mask.get(name))).mean()
            for name, process in processes.items()
            if not isinstance(process, Fixed)
        }
        loss = torch.stack(list(losses.values())).sum()
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_ema(average, network.state_dict(), step + 1, gamma)
        log = {}
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            rate = learning_rate(config, step)
            log = {"loss": float(loss.detach()), "gradient_norm": float(norm), "rate": rate}
            if not math.isfinite(log["loss"]):
                raise FloatingPointError(
                    f"the loss is {log['loss']} at step {step + 1}: lower the learning rate or check the data"
                )
        state = TrainingState(step + 1, network, average, log)
        if accelerator.is_main_process:
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                save_checkpoint(folder, step + 1, network, average, optimizer, config)
            for callback in callbacks:
                callback(state)
    accelerator.wait_for_everyone()
    return state
