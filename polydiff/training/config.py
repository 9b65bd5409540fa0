"""How to train: the settings of a run, their ranges, and the learning rate of each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from polydiff.errors import UsageError
from polydiff.training.weighting import WEIGHTINGS

#: fields, what their values must be, and that in words
_RANGES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("steps batch_size log_every checkpoint_every", lambda x: x >= 1, "at least 1"),
    ("learning_rate clip log_sigma_std", lambda x: x > 0, "positive"),
    ("warmup weight_decay", lambda x: x >= 0, "at least 0"),
    ("decay condition_dropout", lambda x: 0 <= x <= 1, "between 0 and 1"),
    ("ema_width", lambda x: 0 < x < 0.28, "between 0 and 0.28"),
    ("precision", lambda x: x in ("auto", "bfloat16", "float32"), "'auto', 'bfloat16' or 'float32'"),
    ("weighting", lambda x: x in WEIGHTINGS, "the name of a known weighting"),
)


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Errors: UsageError for a value outside its range.

    batch_size is that of one process. log_sigma_mean and log_sigma_std place the noise levels:
    log(sigma / alpha) is normal with these (Karras et al. 2022, section 5, for data of unit variance).
    weighting names a function of polydiff.training.weighting.WEIGHTINGS.
    ema_width is the relative width of the weight average. The learning rate rises over `warmup` steps,
    stays, and falls linearly to zero over the last `decay` of the run. precision is that of the network's
    products of matrices: bfloat16 (autocast), float32, or auto, bfloat16 on a GPU that has it.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    warmup: int = 200
    decay: float = 0.4
    weight_decay: float = 0.01
    clip: float = 1.0
    condition_dropout: float = 0.1
    weighting: str = "edm"
    log_sigma_mean: float = -0.4
    log_sigma_std: float = 1.4
    ema_width: float = 0.1
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for names, good, wanted in _RANGES:
            for name in names.split():
                if not good(getattr(self, name)):
                    raise UsageError(f"training.{name} must be {wanted}, got {getattr(self, name)!r}.")


FREE = frozenset({"log_every", "checkpoint_every"})
"""What may differ after a resume: it changes what is written, not what is learned."""


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step `step`, counted from 0."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = min(1.0, (config.steps - step) / max(1.0, config.decay * config.steps))
    return config.learning_rate * min(rise, fall)
