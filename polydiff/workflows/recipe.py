"""A training recipe: all settings of `polydiff train`, in one validated value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import Field, create_model, field_validator

from polydiff.domain import Strict
from polydiff.errors import PolydiffError
from polydiff.models.manifest import Card, Part, SamplingDefaults
from polydiff.plugins.registry import get_registry
from polydiff.support.validate import validated
from polydiff.training.config import TrainingConfig
from polydiff.training.weighting import WEIGHTINGS

_POSITIVE = ("steps", "batch_size", "learning_rate", "log_every", "checkpoint_every")
_BUILT_IN = {"steps": 2000}


def _training_fields() -> dict[str, Any]:
    """The fields of the engine's TrainingConfig, which stays their only definition."""
    hints = get_type_hints(TrainingConfig)
    fields = {}
    for field in dataclasses.fields(TrainingConfig):
        default = _BUILT_IN.get(field.name, field.default)
        positive = 0 if field.name in _POSITIVE else None
        fields[field.name] = (hints[field.name], Field(default=default, gt=positive))
    return fields


def _known_weighting(name: str) -> str:
    try:
        get_registry().component_info("weighting", name)
    except PolydiffError as error:
        raise ValueError(str(error).rstrip(".")) from error
    return name


Training: type[Strict] = create_model(
    "Training",
    __base__=Strict,
    __validators__={"known_weighting": field_validator("weighting")(_known_weighting)},
    **_training_fields(),
)


class Pictures(Strict):
    """Samples drawn while training, of the averaged weights."""

    every: int = Field(default=500, ge=0)  # steps; 0 draws none
    n: int = Field(default=8, ge=1)
    steps: int = Field(default=10, ge=1)


class Recipe(Strict):
    """Sections of a recipe file. `data` goes to Domain.dataset, `config` overrides Domain.Config."""

    data: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    schedule: Part = Part(name="edm")
    sigma_data: float = Field(default=1.0, gt=0)
    training: Training = Training()  # type: ignore[valid-type]
    sampling: SamplingDefaults = SamplingDefaults()
    pictures: Pictures = Pictures()
    card: Card = Card()

    @classmethod
    def read(cls, settings: Mapping[str, Any], where: str) -> Recipe:
        """A recipe from nested settings; UsageError in one line for an unknown key or a wrong value."""
        return validated(cls, settings, where)

    def training_config(self) -> TrainingConfig:
        """The [training] section as the engine wants it, its weighting known to the engine."""
        settings = self.training.model_dump()  # type: ignore[attr-defined]
        name = settings["weighting"]
        WEIGHTINGS[name] = get_registry().component("weighting", name)
        return TrainingConfig(**settings)
