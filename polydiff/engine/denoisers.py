r"""Denoisers: functions from a noisy state to x̂0, the expected clean state, whatever the network predicts.

A denoiser is called as `denoiser(x, t, mask, cond)` with a state of (B, N, ...) tensors, t float64 (B,),
masks and conditions, and returns x̂0 in float32. A network is called as `network(x, c_noise, mask, cond)`.
The state keeps float32 while the network may run under autocast: a scale factor that the state is
multiplied with never passes through low precision (Karras et al. 2022, table 1).

With x = alpha x0 + sigma eps and data of standard deviation s the general preconditioning is

    x̂0 = c_skip x + c_out F(c_in x, c_noise),      v = alpha² s² + sigma²
    c_skip = alpha s² / v,   c_out = sigma s / √v,   c_in = 1 / √v,   c_noise = log(sigma / alpha) / 4

which is EDM's for alpha = 1 and keeps both the input and the target of F at unit variance for any
schedule. c_noise is a function of log_snr alone, so a trained network outlives its schedule. This is what a
Gaussian component does; a process on another space says itself what the network sees of it, and how the
output becomes x̂0.

Denoisers are stateless. What a denoiser needs back at its next call it returns under a name with a slash,
such as "wave/momentum": the Run carries it, and the next call finds it in x under that name. Component names
have no slash.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor

from polydiff.engine.processes import Gaussian, Process
from polydiff.engine.processes.base import Scaling, noise_ratio
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import per_sample

__all__ = [
    "LOG_SNR_RANGE",
    "Combine",
    "Cond",
    "Denoiser",
    "Mask",
    "Network",
    "Processes",
    "State",
    "c_noise",
    "coefficients",
    "from_eps",
    "from_flow",
    "from_score",
    "from_v",
    "parts",
    "precondition",
]

State = dict[str, Tensor]
Mask = Mapping[str, Tensor]
Cond = Mapping[str, Tensor]
Processes = Mapping[str, Process]
Network = Callable[[State, Tensor, Mask, Cond], State]
Denoiser = Callable[[State, Tensor, Mask, Cond], State]
#: a and b of x̂0 = a x + b F(x), from alpha and sigma
Combine = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

#: log_snr is cut to this range for networks, so that both ends of time give finite inputs
LOG_SNR_RANGE = 30.0

#: of the error of a network that predicts noise; sigma / alpha of EDM is 80
_MOST_AMPLIFIED = 1e4

_GAUSSIAN = Gaussian()


def parts(x: State) -> State:
    """The components of a state, without what a denoiser remembers.

    >>> list(parts({"wave": torch.zeros(1), "wave/momentum": torch.zeros(1)}))
    ['wave']
    """
    return {name: value for name, value in x.items() if "/" not in name}


def c_noise(schedule: Schedule, t: Tensor) -> Tensor:
    """log(sigma / alpha) / 4 in float32, finite at both ends; shape of t."""
    log_snr = schedule.log_snr(t).clamp(-LOG_SNR_RANGE, LOG_SNR_RANGE)
    return (log_snr * -0.125).float()


def coefficients(schedule: Schedule, t: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in of the module, each float64 with the shape of t."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    variance = (alpha * sigma_data) ** 2 + sigma**2
    c_in = torch.rsqrt(variance)
    return alpha * sigma_data**2 / variance, sigma * sigma_data * c_in, c_in


def precondition(
    network: Network,
    schedule: Schedule,
    sigma_data: float = 1.0,
    autocast: torch.dtype | None = None,
    processes: Processes | None = None,
) -> Denoiser:
    """A denoiser from a network trained in the general EDM form; see the module for the four coefficients.

    A component of which `processes` says nothing is Gaussian; whatever the network does not return is passed
    through unchanged.

    Errors: sigma_data must be positive.
    """
    if not sigma_data > 0:
        raise ValueError(f"sigma_data is a standard deviation and must be positive, got {sigma_data}")
    answered, known = _answered(network, schedule, autocast), processes or {}

    def preconditioned(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        scaling = Scaling(*coefficients(schedule, t, sigma_data), noise_ratio(schedule, t))
        here = {name: known.get(name, _GAUSSIAN) for name in x}
        seen = {name: here[name].network_input(value, scaling) for name, value in x.items()}
        output = answered(seen, t, mask, cond)
        return {**x, **{name: here[name].denoised(value, x[name], scaling) for name, value in output.items()}}

    return preconditioned


def from_eps(network: Network, schedule: Schedule, autocast: torch.dtype | None = None) -> Denoiser:
    """A denoiser from a network that predicts the noise: x̂0 = (x - sigma eps) / alpha."""
    return _combined(network, schedule, autocast, lambda alpha, sigma: (1 / alpha, -sigma / alpha))


def from_v(network: Network, schedule: Schedule, autocast: torch.dtype | None = None) -> Denoiser:
    """A denoiser from a network that predicts v = alpha eps - sigma x0 (Salimans and Ho 2022, app. D)."""

    def combine(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        norm = alpha**2 + sigma**2
        return alpha / norm, -sigma / norm

    return _combined(network, schedule, autocast, combine)


def from_flow(network: Network, schedule: Schedule, autocast: torch.dtype | None = None) -> Denoiser:
    """A denoiser from a network that predicts the flow target eps - x0 (rectified flow, our time)."""

    def combine(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)

    return _combined(network, schedule, autocast, combine)


def from_score(network: Network, schedule: Schedule, autocast: torch.dtype | None = None) -> Denoiser:
    """A denoiser from a network that predicts the score of x_t (Tweedie): x̂0 = (x + sigma² score) / alpha."""
    return _combined(network, schedule, autocast, lambda alpha, sigma: (1 / alpha, sigma**2 / alpha))


def _answered(network: Network, schedule: Schedule, autocast: torch.dtype | None) -> Denoiser:
    """The network's own answer at t, in float32."""

    def answered(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        device = next(iter(x.values())).device
        with nullcontext() if autocast is None else torch.autocast(device.type, dtype=autocast):
            output = network(x, c_noise(schedule, t).to(device), mask, cond)
        return {name: value.float() for name, value in output.items()}

    return answered


def _combined(
    network: Network, schedule: Schedule, autocast: torch.dtype | None, combine: Combine
) -> Denoiser:
    answered = _answered(network, schedule, autocast)

    def combined(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        # alpha = 0 holds no signal to divide by; the floor gives a finite (and there arbitrary) answer
        alpha, sigma = schedule.alpha(t).clamp(min=1e-6), schedule.sigma(t)
        a, b = combine(alpha, sigma)
        # a GPU is not waited for, nor its graph broken, to ask
        if b.device.type == "cpu" and bool((b.abs() > _MOST_AMPLIFIED).any()):
            warnings.warn(
                f"at t = {float(t.max()):.4g} the schedule leaves almost no signal, and an error of this "
                f"network becomes {float(b.abs().max()):.0e} times as large in x̂0: use a grid that begins "
                "later, or a network that predicts v",
                stacklevel=2,
            )
        output = answered(x, t, mask, cond)
        return {**x, **{k: per_sample(a, v) * x[k] + per_sample(b, v) * v for k, v in output.items()}}

    return combined
