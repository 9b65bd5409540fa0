"""Noise is a function of its address, and normal."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.noise import as_seeds, noise, philox, stream_id, uniform

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, expected):
    """The known-answer vectors of Random123 for philox4x32, 10 rounds."""
    words = philox([torch.tensor([c]) for c in counter], [torch.tensor([k]) for k in key])
    assert [int(word) for word in words] == expected


@given(
    seeds=st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=4),
    rows=st.integers(1, 9),
    more=st.integers(0, 9),
    width=st.integers(1, 5),
    step=st.integers(0, 2**31),
)
def test_padding_only_appends_and_company_does_not_matter(seeds, rows, more, width, step):
    together = noise(seeds, "x", step, (rows + more, width))
    for i, seed in enumerate(seeds):
        assert torch.equal(together[i, :rows], noise(seed, "x", step, (rows, width))[0])


def test_streams_steps_and_seeds_are_independent():
    draws = [
        noise(0, "x", 0, (4096,))[0],
        noise(0, "y", 0, (4096,))[0],
        noise(0, "x", 1, (4096,))[0],
        noise(1, "x", 0, (4096,))[0],
        noise(2**32, "x", 0, (4096,))[0],
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(5)
    assert correlation.abs().max() < 4 / 64  # four standard errors


def test_normals_are_normal():
    x = noise(range(16), "x", 3, (4096,), torch.float64).flatten()
    n = len(x)
    assert abs(float(x.mean())) < 4 / math.sqrt(n)
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / n)
    assert abs(float((x**3).mean())) < 4 * math.sqrt(15 / n)
    assert abs(float((x**4).mean()) - 3) < 4 * math.sqrt(96 / n)
    # Kolmogorov-Smirnov against the normal distribution, at the 0.1 % level
    uniforms = torch.special.ndtr(x).sort().values
    ranks = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert float((uniforms - ranks).abs().max()) < 1.95 / math.sqrt(n)


def test_uniforms_are_inside_the_open_interval_and_uniform():
    u = uniform(range(8), "t", 0, (8192,))
    assert u.dtype == torch.float64
    assert (u.min() > 0) & (u.max() < 1)
    counts = torch.histc(u, 16, 0, 1)
    expected = u.numel() / 16
    assert float(((counts - expected) ** 2 / expected).sum()) < 37.7  # chi-squared, 15 degrees, 0.1 %


def test_dtype_shape_and_seeds():
    assert noise(1, "x", 0, (3, 2), torch.float64).dtype == torch.float64
    assert noise([1, 2], "x", 0, (3, 2)).shape == (2, 3, 2)
    assert noise(torch.tensor([1, 2]), "x", 0, ()).shape == (2,)
    assert noise(1, "x", 0, (0,)).shape == (1, 0)
    assert as_seeds([2**64 + 5, -1]).tolist() == [5, -1]
    assert 0 <= stream_id("wave") < 2**32
