"""Examples of several lengths as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["pad_examples"]


def pad_examples(examples: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Examples (N, ...) padded with zeros to a batch (B, longest N, ...), and the mask (B, longest N), bool,
    that is True where a node is real.

    >>> batch, mask = pad_examples([torch.ones(1, 2), torch.ones(3, 2)])
    >>> batch.shape, mask.tolist()
    (torch.Size([2, 3, 2]), [[True, False, False], [True, True, True]])
    """
    batch = pad_sequence(list(examples), batch_first=True)
    lengths = torch.tensor([len(example) for example in examples])
    return batch, torch.arange(batch.shape[1]) < lengths[:, None]
