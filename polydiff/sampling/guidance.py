"""Which guidance a model is sampled with: by name and scale, or by a function of the caller's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from polydiff.engine.denoisers import Denoiser
from polydiff.errors import UsageError, did_you_mean
from polydiff.plugins.registry import get_registry
from polydiff.sampling.options import Wrap
from polydiff.sampling.provenance import Provenance

if TYPE_CHECKING:
    from polydiff.model import Model

#: what a guidance must take to be chosen by name, in this order; the rest are its options
REQUIRED = ("denoiser", "scale", "null")
#: settings of their own, for the guidances that take them
SHARED = ("rescale", "interval", "schedule")


def check_guidance(name: str, options: Mapping[str, Any], rescale: float) -> str:
    """The full name of a guidance. UsageError where it does not exist, needs more than a scale, or does not
    take an option or the rescale."""
    registry = get_registry()
    takes = list(inspect.signature(registry.component("guidance", name)).parameters)
    if tuple(takes[:3]) != REQUIRED:
        raise UsageError(
            f"guidance {name!r} needs more than a scale, so its name does not choose it: in Python give a "
            "function that wraps the denoiser, sample(guidance=function)."
        )
    if rescale and "rescale" not in takes:
        raise UsageError(f"guidance {name!r} takes no rescale: set sampling.guidance_rescale to 0.")
    own = [option for option in takes[3:] if option not in SHARED]
    for option in options:
        if option not in own:
            known = f"it takes {', '.join(own)}." if own else "it takes none."
            raise UsageError(
                f"guidance {name!r} has no option {option!r}; {known}{did_you_mean(option, own)}"
            )
    full: str = registry.component_info("guidance", name).full_name
    return full


def guided(model: Model, record: Provenance, device: str, wrap: Wrap | None = None) -> Denoiser:
    """The model's denoiser under a record's guidance, what the domain adds, and the caller's function."""
    denoiser = model.denoiser(device)
    if record.guidance_scale != 1:
        null = {k: torch.tensor([row], device=device) for k, row in model.conditions.null().items()}
        function = get_registry().component("guidance", record.guidance)
        shared = {
            "rescale": record.guidance_rescale,
            "interval": record.guidance_interval,
            "schedule": model.schedule,
        }
        takes = inspect.signature(function).parameters
        given = {name: value for name, value in shared.items() if name in takes}
        denoiser = function(denoiser, record.guidance_scale, null, **given, **record.guidance_options)
    denoiser = model.domain.guided(denoiser, model.schedule)
    return denoiser if wrap is None else wrap(denoiser)


def name_of(wrap: Wrap | None) -> str:
    """What a record calls a function that it cannot hold."""
    return "" if wrap is None else getattr(wrap, "__qualname__", type(wrap).__name__)
