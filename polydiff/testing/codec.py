"""Clauses on files and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from polydiff.domain import Domain, SampleRequest
from polydiff.errors import UsageError
from polydiff.testing.base import Clauses
from polydiff.testing.subject import Subject
from polydiff.testing.words import Clause, clause


def _near(c: Clause, domain: Domain, a: Any, b: Any) -> None:
    apart = domain.distance(a, b)
    c.require(apart <= domain.tolerance, f"it is {apart:.3g} apart, more than {domain.tolerance:g}")


class CodecClauses(Clauses):
    """Files round trip, tensors round trip, bad files get a line."""

    def test_save_load(self, subject: Subject, tmp_path: Path) -> None:
        domain, example = subject.domain, subject.examples[0]
        for suffix in subject.kind.suffixes:
            with clause(
                f"load(save(x)) is x ({suffix})",
                "fix load and save, widen `tolerance`, or give a `distance` that suits lossy formats.",
            ) as c:
                path = tmp_path / f"example{suffix}"
                notes = domain.save(example, path)
                c.require(isinstance(notes, list), f"save returned a {type(notes).__name__}, no list")
                c.require(path.exists(), f"save wrote no file {path.name}")
                _near(c, domain, domain.load(path), example)

    def test_bad_files(self, subject: Subject, tmp_path: Path) -> None:
        suffix = subject.kind.suffixes[0]
        cases = {
            "nothing": b"",
            "text": b"this is not what the suffix says\n" * 4,
            "noise": bytes(range(256)) * 4,
        }
        for name, content in cases.items():
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(content)
            with clause(
                "load says in one line what is wrong with a file",
                "catch what the reading library raises, and raise UsageError with the path in it.",
            ) as c:
                try:
                    subject.domain.load(path)
                except UsageError as error:
                    c.require("\n" not in str(error), f"more than one line: {error}")
                    c.require(path.name in str(error), f"the file is not named: {error}")
                else:
                    c.require(False, f"a file of {name} was loaded as if it were good")

    def test_encode_decode(self, subject: Subject) -> None:
        domain = subject.domain
        with clause(
            "decode(encode(x)) is x", "fix the codec, or state honestly in `tolerance` what it loses."
        ) as c:
            state, mask = domain.encode(subject.examples[:4])
            decoded = domain.decode(state, mask)
            c.require(len(decoded) == 4, f"four examples in, {len(decoded)} out")
            for before, after in zip(subject.examples, decoded, strict=False):
                _near(c, domain, after, before)
        with clause(
            "states are float32 (batch, nodes, ...) with a process each",
            "return float32 tensors, batch first, under the names that processes() has.",
        ) as c:
            c.require(state.keys() == domain.processes().keys(), f"{list(state)}, {list(domain.processes())}")
            for name, x in state.items():
                c.require(x.dtype == torch.float32, f"{name} is {x.dtype}")
                c.require(x.dim() >= 2 and len(x) == 4, f"{name} is {tuple(x.shape)}")
                c.require(bool(torch.isfinite(x).all()), f"{name} is not finite")
                real = mask.get(name)
                if real is not None:
                    c.require(real.dtype == torch.bool, f"the mask of {name} is {real.dtype}")
                    c.require(not bool(x[~real].any()), f"padded nodes of {name} are not zero")

    def test_unit_variance(self, subject: Subject) -> None:
        state, mask = subject.domain.encode(subject.examples)
        for name, process in subject.domain.processes().items():
            if process.linear:
                with clause("inside, variance is about one", "scale in encode and decode.") as c:
                    real = state[name][mask[name]] if name in mask else state[name]
                    spread = float(real.std())
                    c.require(0.3 < spread < 3, f"{name} has standard deviation {spread:.3g}")
            elif not process.passive:
                with clause(
                    "states lie on their component's space",
                    "encode rotations as 3 × 3 matrices, angles in radians in [-π, π), categories one-hot.",
                ) as c:
                    apart = float((process.project(state[name], mask.get(name)) - state[name]).abs().max())
                    c.require(apart < 1e-3, f"{name} is {apart:.3g} off")

    def test_shapes(self, subject: Subject) -> None:
        domain, example = subject.domain, subject.examples[0]
        with clause(
            "shapes(request) are those of encoded data", "return (nodes, features) without the batch."
        ) as c:
            drawn = [name for name, p in domain.processes().items() if not p.passive]
            free = domain.shapes(SampleRequest(options=subject.kind.Options()))
            c.require(set(free) == set(drawn), f"shapes for {sorted(free)}, drawn are {sorted(drawn)}")
            state = domain.encode([example])[0]
            for name, shape in free.items():
                features = tuple(state[name].shape[2:])
                c.require(tuple(shape[1:]) == features, f"{name}: {shape[1:]} and {features} features")
        if "variation" in subject.kind.capabilities:
            with clause("a source sets the size of its variations", "look at request.source in shapes.") as c:
                request = SampleRequest(options=subject.kind.Options(), source=example)
                c.require(set(domain.init(request)) <= set(state), "init(request) gives unknown components")
