"""The whole conformance suite of polydiff, applied to this domain."""

from pathlib import Path

from polydiff.testing import DomainSuite


class TestMyData(DomainSuite):
    domain = "mydata"
    data = Path(__file__).parent.parent / "data"
