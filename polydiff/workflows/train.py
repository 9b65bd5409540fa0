"""Training: from a folder of files to a model folder, with a model at each checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from polydiff.dataset import Dataset
from polydiff.domain import Domain
from polydiff.errors import UsageError, did_you_mean
from polydiff.model import Model, make_schedule
from polydiff.models.made_by import read_config
from polydiff.models.manifest import Manifest
from polydiff.models.processes import processes_of
from polydiff.plugins.registry import get_registry
from polydiff.spec import RunInfo
from polydiff.support.validate import one_line
from polydiff.training.checkpoints import NAME as CHECKPOINT
from polydiff.training.loop import TrainingState, fit, make_accelerator
from polydiff.workflows.loggers import Loggers
from polydiff.workflows.recipe import Recipe
from polydiff.workflows.training_data import TrainingData
from polydiff.workflows.training_log import TrainingLog

Echo = Callable[[str], None]


@dataclass(frozen=True)
class Preparation:
    """Everything of a run that is known before its first step."""

    kind: type[Domain]
    dataset: Dataset
    domain: Domain
    recipe: Recipe
    folder: Path
    resume: bool
    start: Model | None = None
    manifest: Manifest | None = None  # of the run that is resumed


def prepare(
    name: str,
    data: str | Path,
    folder: str | Path,
    recipe: Recipe,
    resume: bool = False,
    start: Model | None = None,
    manifest: Manifest | None = None,
) -> Preparation:
    """Read the data and settle the configuration. Raises UsageError in one line.

    A resumed run keeps the configuration of its `manifest`, the one in its folder, whatever the data would
    suggest now. A run with a `start` begins with that model's weights, codec and network (fine-tuning).
    """
    kind: type[Domain] = get_registry().domain(name)
    recipe.training_config()  # its ranges are checked before files are read
    folder = Path(folder)
    if (folder / CHECKPOINT).exists() and not resume:
        raise UsageError(f"{folder}: holds a training run. Go on with --resume, or choose another folder.")
    if resume and not (folder / CHECKPOINT).exists():
        if manifest is None:
            raise UsageError(f"{folder}: no training run to resume ({CHECKPOINT} is not there).")
        if manifest.training.get("step") != 0:  # a finished model that somebody copied
            raise UsageError(f"{folder}: a model without its training run ({CHECKPOINT} is not there).")
        resume = False  # killed before its first step: there is nothing to lose
    allowed = list(inspect.signature(kind.dataset).parameters)[1:]
    for key in recipe.data:
        if key not in allowed:
            hint = did_you_mean(key, allowed) or f" Known: {', '.join(allowed) or 'none'}."
            raise UsageError(f"data: unknown key {key!r} for {name}.{hint}")
    dataset = kind.dataset(data, **recipe.data)
    if resume and manifest is not None:
        if manifest.domain != name:
            raise UsageError(f"{folder}: a run of the domain {manifest.domain!r}, not of {name!r}.")
        config = read_config(kind, manifest, folder)
    else:
        unknown = [key for key in recipe.config if key not in kind.Config.model_fields]
        if unknown:
            known = list(kind.Config.model_fields)
            hint = did_you_mean(unknown[0], known) or f" Known: {', '.join(known) or 'none'}."
            raise UsageError(f"config: unknown key {unknown[0]!r} for {name}.{hint}")
        try:
            if start is None:
                config = kind.configure(dataset, recipe.config)
            else:
                config = kind.fine_tuned(start.domain.config, dataset, recipe.config)
        except ValidationError as error:
            raise UsageError(one_line(error, kind.Config, "config")) from error
    return Preparation(
        kind, dataset, kind(config), recipe, folder, resume, start, manifest if resume else None
    )


def run(prepared: Preparation, echo: Echo = print, device: str | None = None) -> Model:
    """Train, and return the model, which also lies in the folder."""
    recipe, domain, folder = prepared.recipe, prepared.domain, prepared.folder
    config = recipe.training_config()
    accelerator = make_accelerator(device, config.precision)
    say: Echo = echo if accelerator.is_main_process else lambda line: None
    data = TrainingData(
        domain, prepared.dataset, config.batch_size, config.seed, accelerator.process_index,
        accelerator.num_processes,
    )  # fmt: skip
    for line in data.report.lines():
        say(line)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = domain.network()
    facts: dict[str, Any] = {"examples": len(data), "recipe": recipe.model_dump(mode="json")}
    earlier = {} if prepared.manifest is None else prepared.manifest.training
    if "from" in earlier:
        facts["from"] = earlier["from"]
    elif prepared.start is not None:
        facts["from"] = {"model": prepared.start.ref, "hash": prepared.start.hash}
        say(take_weights(network, prepared.start))
    say(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {config.steps} steps")
    settings = facts["recipe"]

    def model_of(weights: Mapping[str, torch.Tensor], step: int, figures: Mapping[str, float]) -> Model:
        averaged: nn.Module = domain.network()
        averaged.load_state_dict({name: value.cpu() for name, value in weights.items()})
        return Model.create(
            domain,
            averaged,
            schedule=recipe.schedule,
            sigma_data=recipe.sigma_data,
            sampling=recipe.sampling,
            training={**facts, "step": step, "seconds": round(log.seconds)},
            metrics=dict(figures),
            card=recipe.card,
        )

    saved: Any = earlier.get("step")  # the step of the model in the folder
    log = TrainingLog(folder, say, config.steps, config.batch_size * accelerator.num_processes)
    registry = get_registry()

    def after_step(state: TrainingState) -> None:
        nonlocal saved
        log.step(state)
        last = state.step == config.steps
        draw = recipe.pictures.every and (state.step % recipe.pictures.every == 0 or last)
        if not (state.saved or draw):
            return
        with torch.random.fork_rng(devices=[]):
            model = model_of(state.average, state.step, log.figures)
        model.save(folder)
        saved = state.step
        if draw:
            try:
                log.picture(state.step, _picture(model, recipe))
            except Exception as error:  # a picture is worth less than the run
                say(f"No picture of step {state.step}: {type(error).__name__}: {error}")

    def execute() -> Model:
        plugins = tuple(registry.callbacks(info))
        if accelerator.is_main_process:
            log.loggers = Loggers(info, say)
        if accelerator.is_main_process and not prepared.resume:  # so that a resume finds the settings
            model_of(network.state_dict(), 0, {}).save(folder)
        state = fit(
            network,
            processes_of(domain),
            make_schedule(recipe.schedule),
            data,
            config,
            folder,
            sigma_data=recipe.sigma_data,
            null=data.null,
            resume=prepared.resume,
            accelerator=accelerator,
            callbacks=(after_step, *plugins),
            facts={
                "data": f"{len(data)} examples ({data.digest})",
                "data settings": settings["data"],
                "config": settings["config"],
            },
        )
        model = model_of(state.average, state.step, log.figures)
        if accelerator.is_main_process and saved != state.step:
            model.save(folder)  # a run was killed between its last checkpoint and the model of it
        return model

    info = RunInfo("train", domain.name, execute, output=str(folder), settings=settings)
    try:
        model: Model = registry.run(info)
    finally:
        log.close()
    registry.finished(info, [str(folder)])
    return model


def take_weights(network: nn.Module, start: Model) -> str:
    """Copy into `network` every tensor of `start` that has its name and shape, and say how many those are.

    Errors: UsageError where none has.
    """
    own, given = network.state_dict(), start.network.state_dict()
    fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    if not fitting:
        raise UsageError(f"{start.ref}: no weight fits the network that is asked for. Leave out --from.")
    network.load_state_dict({**own, **fitting})
    anew = [name for name in own if name not in fitting]
    return f"Weights of {start.ref}" + (f", but for {', '.join(anew)}" if anew else "")


def _picture(model: Model, recipe: Recipe) -> bytes:
    """A contact sheet of samples, the choices of the first condition in turn."""
    asked: dict[str, Any] = {}
    for condition in model.conditions:
        choices = getattr(condition, "choices", None)
        if choices:
            asked = {condition.name: list(choices)}
            break
    samples = model.sample(recipe.pictures.n, seed=0, steps=recipe.pictures.steps, conditions=asked)
    return samples.contact_sheet()
