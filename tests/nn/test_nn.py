"""The blocks that plugins build denoisers from: padding, and tokens wider than the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polydiff.engine.denoisers import coefficients, precondition
from polydiff.engine.schedules import EDM
from polydiff.nn import SequenceTransformer
from polydiff.nn.transformer import NoiseFilter


def trained_looking(channels: int, width: int = 16) -> SequenceTransformer:
    """A small network without the zeros that it begins with."""
    torch.manual_seed(0)
    network = SequenceTransformer("x", channels, {"kind": 3}, width=width, depth=2, heads=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def run(network: SequenceTransformer, x: Tensor, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        cond = {"kind": torch.eye(3)[: len(x)]}
        return network(
            {"x": x}, torch.tensor([-0.5, 0.3][: len(x)]), {} if mask is None else {"x": mask}, cond
        )["x"]


def test_padding_is_neither_read_nor_written() -> None:
    for channels in (8, 40):
        network, x = trained_looking(channels), torch.randn(2, 7, channels)
        mask = torch.arange(7) < torch.tensor([7, 4])[:, None]
        padded = run(network, torch.where(mask[..., None], x, 1e3), mask)
        torch.testing.assert_close(padded[1:, :4], run_second(network, x[1:, :4]))
        assert not padded[1, 4:].any()


def run_second(network: SequenceTransformer, x: Tensor) -> Tensor:
    """The second sample of `run` alone."""
    with torch.no_grad():
        return network({"x": x}, torch.tensor([0.3]), {}, {"kind": torch.eye(3)[1:2]})["x"]


def test_only_tokens_wider_than_the_network_get_a_filter_and_it_begins_as_zero() -> None:
    assert trained_looking(16).filter is None
    fresh = SequenceTransformer("x", 40, {}, width=16, depth=1, heads=2)
    assert isinstance(fresh.filter, NoiseFilter)
    assert not fresh({"x": torch.randn(1, 3, 40)}, torch.zeros(1), {}, {})["x"].any()


def test_the_filter_can_be_the_exact_denoiser_of_correlated_channels() -> None:
    """x0 normal with covariance V diag(v) V', so E[x0 | x] = V diag(v / (v + sigma^2)) V' x at any width."""
    channels, schedule = 24, EDM()
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(channels, channels))[0]
    variances = torch.logspace(-4, 1, channels)
    network = SequenceTransformer("x", channels, {}, width=8, depth=1, heads=2)
    assert network.filter is not None
    denoiser = precondition(network, schedule)
    for level in (0.02, 0.5, 10.0):
        t = schedule.t_of_log_snr(torch.tensor([-2.0], dtype=torch.float64) * torch.tensor(level).log())
        c_skip, c_out, c_in = (float(c) for c in coefficients(schedule, t))
        shrink = variances / (variances + level**2)
        with torch.no_grad():
            network.filter.into.weight.copy_(basis.T)
            network.filter.out.weight.copy_(basis)
            network.filter.gate.bias.copy_((shrink - c_skip) / (c_out * c_in))
            x = torch.randn(1, 5, channels) * level
            answer = denoiser({"x": x}, t, {}, {})["x"]
        torch.testing.assert_close(answer, x @ basis * shrink @ basis.T, rtol=1e-3, atol=1e-4 * level)
