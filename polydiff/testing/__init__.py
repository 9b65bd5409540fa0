"""The conformance kit for authors of domain plugins.

    from polydiff.testing import DomainSuite

    class TestMine(DomainSuite):
        domain = "mine"
        data = Path(__file__).parent / "data"

is a plugin's whole conformance test, as `SolverSuite` is that of a solver. Each failure
says which clause of the contract broke and what to do.
"""

from polydiff.testing.solvers import SolverSuite
from polydiff.testing.suite import DomainSuite

__all__ = ["DomainSuite", "SolverSuite"]
