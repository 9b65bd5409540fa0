"""Clauses on metrics and pictures."""

from __future__ import annotations

import math

from polydiff.dataset import Dataset
from polydiff.testing.base import Clauses
from polydiff.testing.subject import Subject
from polydiff.testing.words import clause

__all__ = ["PNG", "JudgingClauses"]

PNG = b"\x89PNG\r\n\x1a\n"


class JudgingClauses(Clauses):
    """Metrics prefer data to noise; examples have pictures."""

    def test_metrics(self, subject: Subject) -> None:
        metrics = subject.domain.metrics()
        with clause("there is a metric", "return at least one Metric from metrics().") as c:
            c.require(metrics, "metrics() is empty")
        half = len(subject.data) // 2
        real, reference = subject.data[0 : 2 * half : 2], subject.data[1 : 2 * half : 2]
        noise = Dataset.of(subject.noise_examples(half), [item.conditions for item in real])
        for name, metric in metrics.items():
            with clause(
                f"the metric {name} prefers data to noise", "check the sign, or better=, of the Metric."
            ) as c:
                good, bad = metric(real, reference), metric(noise, reference)
                c.require(math.isfinite(good), f"{good} for real data")
                prefers = good < bad if metric.better == "lower" else good > bad
                c.require(prefers or not math.isfinite(bad), f"{good:.4g} for data, {bad:.4g} for noise")

    def test_preview(self, subject: Subject) -> None:
        examples = subject.examples[:2]
        with clause("an example has a picture", "return the bytes of a PNG from preview().") as c:
            c.require(subject.domain.preview(examples[0])[:8] == PNG, "preview() is no PNG")
            sheet = subject.domain.contact_sheet(examples, ["one", "two"])
            c.require(sheet[:8] == PNG, "contact_sheet() is no PNG")
