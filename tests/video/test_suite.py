"""The conformance suite, on real clips."""

from __future__ import annotations

import pytest

from polydiff.dataset import Dataset
from polydiff.testing import DomainSuite
from polydiff_video.domain import Video

from .conftest import DATA, PATTERN


@pytest.mark.slow
class TestVideo(DomainSuite):
    domain = "video"
    region = "0:3"
    config = {  # noqa: RUF012
        "codec": {"patch": 32, "channels": 96},
        "network": {"width": 32, "depth": 1, "heads": 2},
    }

    def dataset(self) -> Dataset:
        return Video.dataset(DATA, PATTERN, labels=["action", "direction"])


class TestMotion(TestVideo):
    """The other kind of network, of pixels."""

    config = {  # noqa: RUF012
        "codec": {"kind": "pixels", "patch": 8},
        "network": {"kind": "motion", "width": 16, "depth": 1},
    }
