"""Noise as a function: noise(seeds, stream, step, shape) and nothing remembered.

Each sample has a seed of its own, and each number it ever needs has an address: the stream's name, the
step, and the flat position in the sample's array. Philox4x32-10 (Salmon et al. 2011) turns the address
into bits, Box-Muller turns bits into normals. So sample i is the same alone, in any batch, in any order,
on any number of processes and after any resume; and since positions count row by row, padding the first
axis only appends numbers.

Integers up to 2^64 wrap in int64 exactly as the generator wants them, so the arithmetic is plain torch,
runs on the device of the seeds and needs no host.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Seeds", "as_seeds", "derived_seed", "noise", "philox", "stream_id", "uniform"]

#: one integer a sample, or an int64 tensor (B,)
Seeds = int | Sequence[int] | Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def stream_id(stream: str) -> int:
    """A stable 32-bit number for a stream's name."""
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:4], "little")


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four counter words and two key words (int64 tensors below 2^32) to four words.

    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [hex(int(word)) for word in philox([zero] * 4, [zero] * 2)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _MASK) ^ c1 ^ k0,
            product1 & _MASK,
            ((product0 >> 32) & _MASK) ^ c3 ^ k1,
            product0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _words(seeds: Tensor, stream: str, step: int | Tensor, count: int) -> Tensor:
    """(B, 4, count) words of 32 random bits as int64; word (b, :, j) depends on seed b and j alone."""
    index = torch.arange(count, dtype=torch.int64, device=seeds.device).expand(len(seeds), count)
    seeds = seeds[:, None]
    zero = torch.zeros_like(index)
    counter = [index, zero + step, zero + stream_id(stream), zero]
    return torch.stack(philox(counter, [seeds & _MASK, (seeds >> 32) & _MASK]), dim=1)


def as_seeds(seeds: Seeds, device: torch.device | str | None = None) -> Tensor:
    """Seeds as an int64 tensor (B,). Any integer is taken modulo 2^64.

    >>> as_seeds(2**64 - 1).tolist()
    [-1]
    """
    if isinstance(seeds, Tensor):
        return seeds.to(device=device, dtype=torch.int64).reshape(-1)
    numbers = [seeds] if isinstance(seeds, int) else list(seeds)
    wrapped = [(int(seed) + 2**63) % 2**64 - 2**63 for seed in numbers]
    return torch.tensor(wrapped, dtype=torch.int64, device=device)


def derived_seed(seed: int, stream: str, step: int) -> int:
    """A seed for a part of a sample: independent of the sample's own and of other parts'.

    >>> derived_seed(7, "part", 1) == derived_seed(7, "part", 1) != derived_seed(7, "part", 2)
    True
    """
    return int(uniform(seed, stream, step, (1,))[0] * 2**53)


def uniform(seeds: Seeds, stream: str, step: int | Tensor, shape: Sequence[int]) -> Tensor:
    """Uniform numbers in (0, 1), float64, shape (B, *shape).

    >>> bool((uniform([1, 2], "t", 0, (3,))[1] == uniform(2, "t", 0, (5,))[0, :3]).all())
    True
    """
    seeds = as_seeds(seeds) if not isinstance(seeds, Tensor) else seeds
    size = math.prod(shape)
    words = _words(seeds, stream, step, -(-size // 4)).transpose(1, 2).reshape(len(seeds), -1)
    return ((words[:, :size].double() + 0.5) * 2.0**-32).reshape(len(seeds), *shape)


def noise(
    seeds: Seeds, stream: str, step: int | Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Standard normal numbers, shape (B, *shape), on the device of the seeds.

    Args:
        seeds: one integer a sample, or an int64 tensor (B,).
        stream: what the numbers are for ("prior", "wave", ...); streams are independent.
        step: which draw of that stream; steps are independent. An int64 tensor where only the device knows.
        shape: one sample's shape. A longer first axis begins with the same numbers.
        dtype: float32 or float64; the normals are computed in float64.

    >>> alone, together = noise(7, "x", 0, (4, 2)), noise([3, 7], "x", 0, (6, 2))
    >>> torch.equal(alone[0], together[1, :4])
    True
    """
    uniforms = uniform(seeds, stream, step, (2 * -(-math.prod(shape) // 2),))
    radius = torch.sqrt(-2 * torch.log(uniforms[:, 0::2]))
    angle = 2 * math.pi * uniforms[:, 1::2]
    normals = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=2)
    return normals.flatten(1)[:, : math.prod(shape)].reshape(len(normals), *shape).to(dtype)
