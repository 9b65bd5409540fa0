"""Clauses on the network."""

from __future__ import annotations

import pytest
import torch

from polydiff.engine.denoisers import c_noise, precondition
from polydiff.engine.schedules import EDM
from polydiff.models.processes import processes_of
from polydiff.testing.base import Clauses
from polydiff.testing.subject import Subject, padded
from polydiff.testing.words import clause

__all__ = ["NetworkClauses"]


class NetworkClauses(Clauses):
    """Finite everywhere, sees its conditions, ignores padding."""

    def test_network(self, subject: Subject) -> None:
        subject.needs_network()
        x, mask, cond = subject.batch(2)
        network, schedule, processes = subject.domain.network(), EDM(), processes_of(subject.domain)
        for t in (0.0, 1e-5, 0.01, 0.3, 1.0):
            times = torch.full((2,), t, dtype=torch.float64)
            with clause(
                f"the network is finite forward and backward (t = {t:g})",
                "look for divisions by zero, roots and logarithms of zero, rows that are all masked.",
            ) as c:
                output = network(x, c_noise(schedule, times), mask, cond)
                for name, value in output.items():
                    expected = (2, *processes[name].output_shape(tuple(x[name].shape[1:])))
                    c.require(value.shape == expected, f"{name} comes out as {tuple(value.shape)}")
                    c.require(value.isfinite().all(), f"{name} is not finite")
                torch.stack([value.square().mean() for value in output.values()]).sum().backward()
                gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
                bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
                c.require(gradients, "no parameter gets a gradient")
                c.require(not bad, f"gradients are not finite: {', '.join(bad[:3])}")
                x0_hat = precondition(network, schedule, processes=processes)(dict(x), times, mask, cond)
                c.require(all(v.isfinite().all() for v in x0_hat.values()), "x̂0 is not finite")

    def test_conditions_matter(self, subject: Subject) -> None:
        subject.needs_network()
        conditions = subject.domain.conditions()
        if not len(conditions):
            pytest.skip("the domain has no conditions")
        x, mask, cond = subject.batch(2)
        null = {name: torch.tensor([row] * 2) for name, row in conditions.null().items()}
        with clause("conditions reach the network", "feed every tensor of `cond` into the network.") as c:
            for name in conditions.names:
                given = subject.model.network(x, torch.zeros(2), mask, cond)
                without = subject.model.network(x, torch.zeros(2), mask, {**cond, name: null[name]})
                if torch.equal(cond[name], null[name]):
                    continue
                same = all(torch.equal(given[k], without[k]) for k in given)
                c.require(not same, f"the output does not depend on {name}")

    def test_masks(self, subject: Subject) -> None:
        subject.needs_network()
        if "variable" not in subject.kind.capabilities:
            pytest.skip("sizes do not differ in this domain")
        x, _, cond = subject.batch(1)
        alone = subject.model.network(x, torch.zeros(1), {}, cond)
        longer, mask = padded(x, 3)
        company = subject.model.network(longer, torch.zeros(1), mask, cond)
        with clause(
            "masks do not leak: padding changes nothing at real nodes",
            "mask attention and pooling, count real nodes only, and mind positions counted from the end.",
        ) as c:
            for name, value in alone.items():
                apart = float((company[name][:, : value.shape[1]] - value).abs().max())
                c.require(apart < 1e-3, f"{name} changes by {apart:.3g} when three padded nodes follow")
        with clause("decode leaves padding out", "use the mask in decode.") as c:
            before, after = subject.domain.decode(x, {}), subject.domain.decode(longer, mask)
            apart = subject.domain.distance(before[0], after[0])
            c.require(apart <= subject.domain.tolerance, f"padding changes the example by {apart:.3g}")
