"""Clauses on sampling and training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from polydiff.domain import SampleRequest
from polydiff.model import load
from polydiff.models.processes import processes_of
from polydiff.plugins.registry import get_registry
from polydiff.testing.base import Clauses
from polydiff.testing.fresh import sample_in_new_process
from polydiff.testing.learning import learn_four
from polydiff.testing.subject import Subject
from polydiff.testing.words import clause
from polydiff.workflows.replay import replay

__all__ = ["RunningClauses"]


class RunningClauses(Clauses):
    """Seeds, solvers, learning, model folders, provenance, sources."""

    def test_seeds(self, subject: Subject) -> None:
        subject.needs_network()
        asked: dict[str, Any] = {"conditions": subject.conditions(3), "steps": 3}
        with clause(
            "sample i of seed s is the same in whatever company",
            "take no randomness but what `request.seed` gives, and keep no state between calls.",
        ) as c:
            together = dict(subject.model.plan(3, 5, **asked).states())
            alone = dict(subject.model.plan(3, 5, indices=[2], **asked).states())
            again = dict(subject.model.plan(3, 5, indices=[2, 0], **asked).states())
            for name, value in alone[0].items():
                c.require(torch.equal(value, together[2][name]), f"{name} differs alone and in company")
                c.require(torch.equal(value, again[0][name]), f"{name} differs in another order")
            c.require(
                any(not torch.equal(together[0][k], together[1][k]) for k in together[0]),
                "two seeds gave one sample",
            )

    def test_solvers(self, subject: Subject) -> None:
        subject.needs_network()
        for info in get_registry().components("solver"):
            with clause(
                f"five steps with {info.name} give a finite example",
                "look at how decode takes values that no training example has.",
            ) as c:
                plan = subject.model.plan(1, 0, steps=5, solver=info.name, conditions=subject.conditions(1))
                for _, state in plan.states():
                    finite = all(bool(x.isfinite().all()) for x in state.values())
                    c.require(finite, "the state is not finite")
                [sample] = plan.stream()
                c.require(sample.example is not None, "decode gave nothing")

    def test_overfits(self, subject: Subject, tmp_path: Path) -> None:
        subject.needs_network()
        with clause(
            "a few steps on four examples lower the loss",
            "check that the network returns what it was given to predict (x0 at its scale, not noise), that "
            "gradients reach all of it, and that the last layer begins at zero.",
        ) as c:
            before, after = learn_four(subject, self.overfit_steps, tmp_path)
            c.require(math.isfinite(after), f"the loss became {after}")
            c.require(after < 0.8 * before, f"the loss went from {before:.4g} to {after:.4g}")

    def test_model_folder(self, subject: Subject, tmp_path: Path) -> None:
        subject.needs_network()
        suffix = subject.kind.suffixes[0]
        with clause(
            "a model folder sampled in a new process gives the same sample",
            "put all that network and codec depend on into Config, and draw no random numbers.",
        ) as c:
            folder = subject.model.save(tmp_path / "model")
            there = sample_in_new_process(folder, subject.kind, tmp_path / f"there{suffix}")
            [sample] = load(folder).sample(1, 3, steps=3)
            here = tmp_path / f"here{suffix}"
            sample.save(here)
            apart = subject.domain.distance(subject.domain.load(here), subject.domain.load(there))
            c.require(apart <= 1e-6, f"the two are {apart:.3g} apart")

    def test_provenance(self, subject: Subject, tmp_path: Path) -> None:
        subject.needs_network()
        with clause("a sample can be made again from its record", "see seeds and model_folder.") as c:
            path = tmp_path / f"sample{subject.kind.suffixes[0]}"
            [sample] = subject.model.sample(1, 11, steps=3, conditions=subject.conditions(1))
            sample.save(path)
            again = replay(path.with_name(path.name + ".json"), subject.model)
            c.require(again.agrees, f"it is {again.difference:.3g} away")

    def test_variation(self, subject: Subject) -> None:
        subject.needs_network()
        if "variation" not in subject.kind.capabilities:
            pytest.skip("not among the capabilities")
        example = subject.examples[0]
        with clause(
            "a variation stays near its source as strength falls",
            "init(request) must give the encoded source.",
        ) as c:
            source = subject.domain.init(SampleRequest(options=subject.kind.Options(), source=example))
            apart = {}
            for strength in (0.02, 1.0):
                plan = subject.model.plan(1, 0, steps=3, source=example, strength=strength)
                [(_, state)] = plan.states()
                apart[strength] = max(float((state[k] - source[k]).abs().mean()) for k in source)
            c.require(apart[0.02] < apart[1.0], f"0.02 is {apart[0.02]:.3g} away, 1 {apart[1.0]:.3g}")

    def test_inpainting(self, subject: Subject) -> None:
        subject.needs_network()
        if "inpaint" not in subject.kind.capabilities:
            pytest.skip("not among the capabilities")
        example, domain = subject.examples[0], subject.domain
        with clause(
            "what is kept is in the sample",
            "known(request) must give values and mask of the region, and finish(request) must put it back.",
        ) as c:
            c.require(self.region, "the suite does not know a region: set region = ... in the test class")
            choices: list[dict[str, Any]] = [{"keep": self.region}, {"redo": self.region}]
            for choice in choices:
                request = SampleRequest(options=subject.kind.Options(), source=example, **choice)
                _, keep = domain.known(request)
                [sample] = subject.model.sample(1, 0, steps=3, source=example, **choice)
                made, given = (domain.encode([x])[0] for x in (sample.example, example))
                told = [bool(kept.any()) for kept in keep.values()]
                whole = all(bool(kept.all()) for kept in keep.values())
                c.require(any(told) and not whole, f"{choice} keeps all or nothing")
                for name, kept in keep.items():
                    if not kept.any():  # a component of its own may be made anew, or kept, as a whole
                        continue
                    there = processes_of(domain)[name].placed(given[name], made[name], kept[None])
                    apart = (made[name] - there)[0].abs().flatten(1).mean(1)[kept].median()
                    c.require(float(apart) < 0.05, f"{choice}: {name} is {float(apart):.3g} away")
