"""One network for both components: what it reads and answers is split, what it thinks is shared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polydiff.nn import SequenceTransformer


class Both(nn.Module):
    """A transformer over rows; each token is a row's number beside its kind."""

    def __init__(self, kinds: int, widths: Mapping[str, int], width: int, depth: int) -> None:
        super().__init__()
        self.body = SequenceTransformer("rows", 1 + kinds, widths, width, depth, heads=4)

    def forward(
        self, x: Mapping[str, Tensor], c_noise: Tensor, mask: Mapping[str, Tensor], cond: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        rows = torch.cat([x["level"], x["kind"]], dim=-1)
        real = {"rows": mask["level"]} if "level" in mask else {}
        made = self.body({"rows": rows}, c_noise, real, cond)["rows"]
        return {"level": made[..., :1], "kind": made[..., 1:]}  # of the kinds: logits
