"""The training loop: one function for one processor, one GPU, or several processes under torchrun.

Step k depends on the seed, k, the process and the weights alone, so a run that was stopped and resumed is
the run that was never stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from polydiff.engine.denoisers import Cond, Processes, precondition
from polydiff.engine.noise import derived_seed
from polydiff.engine.schedules import Schedule
from polydiff.errors import PolydiffError, UsageError
from polydiff.support.files import sweep
from polydiff.training.checkpoints import check_same_run, read_checkpoint, restore, save_checkpoint
from polydiff.training.config import TrainingConfig, learning_rate
from polydiff.training.ema import power_exponent, update_ema
from polydiff.training.interrupts import stop_requests
from polydiff.training.objective import Batch, Objective

__all__ = ["Batch", "Interrupted", "TrainingConfig", "TrainingState", "fit", "make_accelerator"]


@dataclass
class TrainingState:
    """What a callback may look at after a step: the average is the dictionary to sample from.

    `log` is filled at the steps that log: `loss` is a mean since the last log, over all processes. `saved`
    says that the folder's checkpoint is of this step, so that files beside it can keep in step with it.
    """

    step: int
    network: nn.Module
    average: dict[str, Tensor]
    log: dict[str, float] = field(default_factory=dict)
    saved: bool = False


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and did so after a whole step, with a checkpoint of it."""


def make_accelerator(device: str | None = None, precision: str = "auto") -> Accelerator:
    """accelerate on "cpu" or "cuda", where None on the GPU if there is one. Precision "auto" is bf16 autocast
    on a GPU that has it, float32 elsewhere. Processes that torchrun started find each other.

    Errors: UsageError for "cuda" where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA GPU that torch can use. Leave the device out to train on the CPU.")
    cpu = device == "cpu" or not torch.cuda.is_available()
    half = precision == "bfloat16"
    if precision == "auto":
        half = not cpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return Accelerator(cpu=cpu, mixed_precision="bf16" if half else "no")


def fit(
    network: nn.Module,
    processes: Processes,
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
    facts: Mapping[str, Any] | None = None,
) -> TrainingState:
    """Train `network` in place and return its last state; checkpoints go to `folder`.

    The first checkpoint is written before the first step, so a run can be resumed whenever it ends.

    Args:
        batches: step (from 0) to this process's share of the batch, config.batch_size samples; must be a
            pure function. engine.order.BatchOrder says which examples.
        null: encoded null of each condition (1, width), needed for condition dropout.
        resume: go on from the folder's checkpoint; the result is bit for bit that of an unbroken run.
        accelerator: make_accelerator() where None.
        callbacks: called on the main process after every step.
        facts: what else makes the run what it is, as JSON values (such as a digest of the data); a resume
            with others is refused.

    Errors: UsageError where a run cannot be resumed or would not be the same; PolydiffError where the loss
    is not finite or the folder cannot be written. Interrupted after a step in which SIGINT or SIGTERM came.
    """
    accelerator = accelerator or make_accelerator(precision=config.precision)
    rank, ranks, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    objective = Objective(processes, schedule, config, sigma_data, null or {}, rank, ranks)
    learned = objective.learned
    if not learned:
        raise UsageError("Every component is passive: there is nothing to learn.")
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    wrapped, optimizer = accelerator.prepare(network.train(), optimizer)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    # of a dataclass repr says everything; another's may hold an address
    path = repr(schedule) if is_dataclass(schedule) else type(schedule).__name__
    known = {"processes": ranks, "schedule": path, "sigma_data": sigma_data, **(facts or {})}
    run = json.loads(json.dumps(known))  # as it comes back from a checkpoint, so that both can be compared
    begin = 0
    if resume:
        checkpoint = read_checkpoint(folder)
        check_same_run(checkpoint, config, run)
        restore(checkpoint, network, average, optimizer)
        begin = checkpoint.step

    def save(step: int) -> None:
        if accelerator.is_main_process:
            save_checkpoint(folder, step, network, average, optimizer, asdict(config), run)

    if accelerator.is_main_process:
        sweep(folder)
    save(begin)  # which also tells before the first step whether the folder can be written
    denoiser = precondition(wrapped, schedule, sigma_data, processes=processes)
    gamma = power_exponent(config.ema_width)
    state = TrainingState(begin, network, average, saved=True)
    total, since, good = torch.zeros(len(learned), dtype=torch.float64, device=device), begin, begin
    generators = [device] if device.type == "cuda" else []
    with ExitStack() as at_the_end, torch.random.fork_rng(generators), stop_requests() as asked_to_stop:
        # which gives the network its own forward back, without autocast
        at_the_end.callback(accelerator.unwrap_model, wrapped, keep_fp32_wrapper=False)
        for step in range(begin, config.steps):
            torch.manual_seed(derived_seed(config.seed, f"network/{rank}", step))  # of dropout
            rate = learning_rate(config, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = Batch(*({k: x.to(device) for k, x in part.items()} for part in batches(step)))
            losses = objective.losses(denoiser, batch, step)
            accelerator.backward(losses.sum())
            norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            update_ema(average, network.state_dict(), step + 1, gamma)
            total += losses.detach()

            done = step + 1
            stop = _agreed(asked_to_stop(), accelerator)
            saves = stop or done == config.steps or done % config.checkpoint_every == 0
            state = TrainingState(done, network, average, saved=saves)
            if saves or done % config.log_every == 0:
                means = accelerator.reduce(total / (done - since), "mean").tolist()
                state.log = {"loss": sum(means), "gradient_norm": float(norm), "rate": rate}
                if len(learned) > 1:
                    state.log |= {f"loss/{name}": mean for name, mean in zip(learned, means, strict=True)}
                if not all(math.isfinite(value) for value in state.log.values()):
                    raise PolydiffError(
                        f"The loss is {state.log['loss']} at step {done}. Lower the learning rate "
                        f"({config.learning_rate}) or check the data; the checkpoint is of step {good}."
                    )
                total, since = torch.zeros_like(total), done
            if saves:
                save(done)
                good = done
            if accelerator.is_main_process:
                for callback in callbacks:
                    callback(state)
            if stop:
                raise Interrupted(f"Interrupted after step {done} of {config.steps}.")
    accelerator.wait_for_everyone()
    return state


def _agreed(stop: bool, accelerator: Accelerator) -> bool:
    """Whether any process was asked to stop: a signal reaches them at different steps, and they must leave
    at the same one."""
    if accelerator.num_processes == 1:
        return stop
    if stop:
        accelerator.set_trigger()
    result: bool = accelerator.check_trigger()
    return result
