"""Dynamic thresholding: x̂0 is clipped to the range of data."""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State, parts
from polydiff.engine.states import per_sample
from polydiff.errors import UsageError

__all__ = ["threshold"]


def threshold(denoiser: Denoiser, limit: float, quantile: float = 0.995) -> Denoiser:
    """Dynamic thresholding (Saharia et al. 2022, section 2.3): x̂0 is cut at the quantile of its magnitudes
    and scaled down to the limit, wherever that quantile is beyond the limit.

    Args:
        limit: the largest magnitude of data, in the state's units.
        quantile: over the real entries of one sample and component; 1 only scales.

    Errors: UsageError for a limit that is not positive, or a quantile outside 0 to 1.
    """
    if not limit > 0:
        raise UsageError(f"limit must be above 0, got {limit!r}")
    if not 0 < quantile <= 1:
        raise UsageError(f"quantile must lie above 0 and at most at 1, got {quantile!r}")

    def bounded(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        answer = dict(denoiser(x, t, mask, cond))
        for name in parts(answer):
            value = answer[name]
            bound = _quantile(value.abs(), mask.get(name), quantile).clamp(min=limit)
            bound = per_sample(bound, value)
            answer[name] = torch.maximum(torch.minimum(value, bound), -bound) * (limit / bound)
        return answer

    return bounded


def _quantile(x: Tensor, mask: Tensor | None, quantile: float) -> Tensor:
    """The quantile (B,) of x (B, N, ...) over real entries, between neighbours in proportion."""
    if mask is None:
        mask = x.new_ones(x.shape[:2], dtype=torch.bool)
    real = mask.reshape(*mask.shape, *[1] * (x.dim() - 2))
    ordered = torch.where(real, x, torch.inf).flatten(1).sort(1).values
    count = mask.sum(1) * x[0, 0].numel()
    place = quantile * (count - 1).clamp(min=0).double()
    below = place.floor().long()
    above = torch.minimum(below + 1, (count - 1).clamp(min=0))
    low, high = (ordered.gather(1, index[:, None])[:, 0] for index in (below, above))
    return torch.lerp(low, high, (place - below).to(low.dtype))
