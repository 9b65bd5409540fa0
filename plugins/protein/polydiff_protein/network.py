"""The network: numbers and vectors a residue that turn with the backbone, so no direction has to be learned.

Vectors are only ever added, scaled by numbers and crossed with each other, so the answer turns as the input
turns (Deng et al. 2021, vector neurons; Jing et al. 2021, GVP), and the cross products tell left from right.
Attention is biased by what each pair of residues looks like from one another (Jumper et al. 2021, pair
bias): by the noisy backbone in the first half of the blocks, by the backbone that this half draws in the
second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polydiff.nn.embeddings import ConditionEmbedding, NoiseEmbedding, sinusoids
from polydiff_protein.context import ATOMS, STRUCTURE, Context
from polydiff_protein.pairs import FEATURES, pair_features

NEAREST = 32  # residues further apart in the chain than this are as far as any
WINDOW = (-4, -3, -2, -1, 1, 2, 3, 4)  # neighbours in the chain whose directions a residue begins with


class BackboneNetwork(nn.Module):
    """x̂0 of "atoms" (B, N, ATOMS, 3), given "context" (B, N, CONTEXT), packed, and "copies" (B, K, 9).

    Context has the columns of what is shown. The copies are the rotations (row by row) that make the assembly
    out of the atoms; one, the identity, is no symmetry.
    Rotation-equivariant; x̂0 has its centre of mass, that of the whole assembly, at zero.

    >>> from polydiff_protein.context import CONTEXT
    >>> network = BackboneNetwork({}, width=16, vectors=8, depth=2, heads=2, pairs=8)
    >>> x = {"atoms": torch.randn(2, 10, 3, 3), "context": torch.zeros(2, 10, CONTEXT)}
    >>> x["copies"] = torch.eye(3).reshape(1, 1, 9).expand(2, 1, 9)
    >>> network(x, torch.zeros(2), {}, {})["atoms"].shape
    torch.Size([2, 10, 3, 3])
    """

    def __init__(
        self,
        condition_widths: Mapping[str, int],
        width: int = 192,
        vectors: int = 48,
        depth: int = 8,
        heads: int = 8,
        pairs: int = 48,
    ) -> None:
        super().__init__()
        self.heads, self.stages = heads, 2
        self.noise = NoiseEmbedding(width)
        self.conditions = ConditionEmbedding(condition_widths, width)
        self.embed = nn.Linear(64 + 64 + STRUCTURE + 1, width)
        self.begin = VectorLinear(ATOMS + len(WINDOW), vectors)
        self.redraw = VectorLinear(ATOMS + len(WINDOW), vectors)
        self.modulation = nn.Linear(width, 6 * width)
        per_stage = depth // self.stages
        self.pairs = nn.ModuleList(PairBias(width, pairs, heads * per_stage) for _ in range(self.stages))
        self.blocks = nn.ModuleList(Block(width, vectors, heads) for _ in range(per_stage * self.stages))
        self.write = nn.ModuleList(Write(width, vectors) for _ in range(self.stages))

    def forward(
        self, x: dict[str, Tensor], c_noise: Tensor, mask: Mapping[str, Tensor], cond: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        batch, length, _ = x["context"].shape
        turns = x["copies"].reshape(batch, -1, 3, 3)
        copies = turns.shape[1]
        real = mask.get("context", torch.ones_like(x["context"][..., 0], dtype=torch.bool))
        copied = mask.get("copies", torch.ones_like(turns[..., 0, 0], dtype=torch.bool))
        # the whole assembly, one copy after the other; as a sum, which autocast leaves in float32
        atoms = (turns[:, :, None, None] * x["atoms"][:, None, :, :, None]).sum(-1).flatten(1, 2)
        context = Context.unpack(x["context"].repeat(1, copies, 1))
        chain = context.chain + torch.arange(copies, device=real.device).repeat_interleave(length) * 1000
        everyone = (copied[:, :, None] & real[:, None]).flatten(1)
        atoms, middle = centred_atoms(atoms, everyone)
        ratio = torch.exp(4 * c_noise)[:, None, None, None]  # sigma / alpha
        c = nn.functional.silu(self.noise(c_noise) + self.conditions(cond, batch, c_noise.device))
        modulation = self.modulation(c)
        place, motif = context.place, context.motif[..., None]
        near = same_chain(chain, everyone)
        numbers = sinusoids(place, 64), sinusoids(near.sum(-1), 64)
        scalars = self.embed(torch.cat([*numbers, context.structure, motif], dim=-1))
        both = everyone[:, :, None] & everyone[:, None]
        static = torch.cat([_motif_pairs(context), both[..., None].float()], dim=-1)
        offset = (place[:, None, :] - place[:, :, None]).clamp(-NEAREST, NEAREST).long() + NEAREST
        # another chain is far along one's own, which is what single chains have taught
        offset = torch.where(near, offset, torch.where(both, 2 * NEAREST, 2 * NEAREST + 1))
        vectors = self.begin(local_vectors(atoms, near))
        drawn, half = atoms, len(self.blocks) // self.stages
        for stage in range(self.stages):
            bias = self.pairs[stage](pair_features(drawn), static, offset, c)
            bias = bias.masked_fill(~everyone[:, None, None, :], -math.inf)
            for k, block in enumerate(self.blocks[stage * half : (stage + 1) * half]):
                part = bias[:, k * self.heads : (k + 1) * self.heads]
                scalars, vectors = block(scalars, vectors, modulation, part)
            output = self.write[stage](scalars, vectors)
            if stage + 1 < self.stages:
                drawn, _ = centred_atoms((atoms + ratio * output) * torch.rsqrt(1 + ratio**2), everyone)
                vectors = vectors + self.redraw(local_vectors(drawn, near))
        # x̂0 = (x + ratio F) / sqrt(1 + ratio²): what F has to be for its centre to lie at zero
        output, _ = centred_atoms(output, everyone)
        output = output[:, :length] - middle / ratio
        return {"atoms": output * real[..., None, None]}


def centred_atoms(atoms: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Atoms (B, N, A, 3) less the mean of the real ones, padding zero, and the mean (B, 1, 1, 3)."""
    there = real[..., None, None].to(atoms.dtype)
    middle = (atoms * there).mean(2, keepdim=True).sum(1, keepdim=True) / real.sum(1).reshape(-1, 1, 1, 1)
    return (atoms - middle) * there, middle


def same_chain(chain: Tensor, real: Tensor) -> Tensor:
    """(B, N, N) bool: both real and in one chain."""
    return (chain[:, :, None] == chain[:, None, :]) & real[:, :, None] & real[:, None, :]


def local_vectors(atoms: Tensor, near: Tensor) -> Tensor:
    """(B, N, 3, ATOMS + len(WINDOW)): N and C as seen from CA, CA itself, and the way to the neighbours."""
    ca = atoms[:, :, 1]
    seen = [atoms[:, :, 0] - ca, atoms[:, :, 2] - ca, ca]
    length = ca.shape[1]
    for step in WINDOW:
        other = torch.roll(ca, -step, dims=1)
        exists = torch.diagonal(torch.roll(near, -step, dims=2), dim1=1, dim2=2).clone()
        if step > 0:
            exists[:, max(length - step, 0) :] = False
        else:
            exists[:, :-step] = False
        seen.append((other - ca) * exists[..., None])
    return torch.stack(seen, dim=-1)


def _motif_pairs(context: Context) -> Tensor:
    """(B, N, N, FEATURES + 1): what motif residues see of each other, and whether both belong to it."""
    both = (context.motif[:, :, None] * context.motif[:, None])[..., None]
    return torch.cat([pair_features(context.atoms) * both, both], dim=-1)


class VectorLinear(nn.Linear):
    """Mixes the channels of vectors (..., 3, channels); no bias, which would be a direction of its own."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, bias=False)


def vector_norm(vectors: Tensor) -> Tensor:
    """Vectors (..., 3, channels) divided by the root mean square of their lengths."""
    return vectors * torch.rsqrt(vectors.square().sum(-2, keepdim=True).mean(-1, keepdim=True) + 1e-4)


class PairBias(nn.Module):
    """Biases (B, heads, N, N) of the attention of all blocks of a stage."""

    def __init__(self, width: int, pairs: int, heads: int) -> None:
        super().__init__()
        self.read = nn.Linear(FEATURES, pairs)
        self.static = nn.Linear(FEATURES + 2, pairs)
        self.offset = nn.Embedding(2 * NEAREST + 2, pairs)
        self.noise = nn.Linear(width, pairs)
        self.out = nn.Linear(pairs, heads)

    def forward(self, seen: Tensor, static: Tensor, offset: Tensor, c: Tensor) -> Tensor:
        hidden = self.read(seen) + self.static(static) + self.offset(offset) + self.noise(c)[:, None, None]
        result: Tensor = self.out(nn.functional.silu(hidden)).permute(0, 3, 1, 2)
        return result


class Block(nn.Module):
    """Attention, then a perceptron, over scalars (B, N, width) and vectors (B, N, 3, channels); noise level
    and conditions modulate the scalars."""

    def __init__(self, width: int, vectors: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        self.value = VectorLinear(vectors, vectors)
        self.vector_out = VectorLinear(vectors, vectors)
        self.mix = VectorLinear(vectors, 3 * vectors)
        self.up = nn.Linear(width + vectors, 4 * width)
        self.down = nn.Linear(4 * width, width + 2 * vectors)
        self.vector_down = VectorLinear(2 * vectors, vectors)
        self.offset = nn.Parameter(torch.zeros(6 * width))

    def forward(
        self, scalars: Tensor, vectors: Tensor, modulation: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offset)[:, None].chunk(6, dim=-1)
        seen, seen_vectors = self._attended(
            torch.addcmul(shift1, self.norm1(scalars), 1 + scale1), vector_norm(vectors), bias
        )
        scalars = torch.addcmul(scalars, 1 + gate1, seen)
        vectors = vectors + seen_vectors
        first, second, third = self.mix(vector_norm(vectors)).chunk(3, dim=-1)
        dots = (first * second).sum(-2)
        hidden = torch.cat([torch.addcmul(shift2, self.norm2(scalars), 1 + scale2), dots], dim=-1)
        update = self.down(nn.functional.gelu(self.up(hidden), approximate="tanh"))
        update, gate_third, gate_cross = update.split(
            [scalars.shape[-1], first.shape[-1], first.shape[-1]], dim=-1
        )
        crossed = torch.linalg.cross(first, second, dim=-2)
        gated = torch.cat([third * gate_third.unsqueeze(-2), crossed * gate_cross.unsqueeze(-2)], dim=-1)
        return torch.addcmul(scalars, 1 + gate2, update), vectors + self.vector_down(gated)

    def _attended(self, scalars: Tensor, vectors: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        batch, length, width = scalars.shape
        query, key, value = self.qkv(scalars).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        carried = self.value(vectors).view(batch, length, 3, self.heads, -1).permute(0, 3, 1, 2, 4)
        values = torch.cat([value, carried.flatten(3)], dim=-1)
        query, key = self.query_norm(query), self.key_norm(key)
        weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias, dim=-1)
        mixed = (weights @ values).transpose(1, 2)  # (B, N, heads, ...)
        own, carried = mixed.split([width // self.heads, values.shape[-1] - width // self.heads], dim=-1)
        carried = carried.unflatten(-1, (3, -1)).transpose(2, 3).flatten(3)
        return self.out(own.flatten(2)), self.vector_out(carried)


class Write(nn.Module):
    """Vectors (B, N, ATOMS, 3) out of the stream, zero at first."""

    def __init__(self, width: int, vectors: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, vectors)
        self.out = VectorLinear(vectors, ATOMS)
        nn.init.zeros_(self.out.weight)

    def forward(self, scalars: Tensor, vectors: Tensor) -> Tensor:
        gated = vector_norm(vectors) * (1 + self.gate(self.norm(scalars))).unsqueeze(-2)
        result: Tensor = self.out(gated).transpose(-1, -2)
        return result
