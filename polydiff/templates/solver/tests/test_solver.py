"""The whole suite of polydiff for solvers, applied to this one."""

from polydiff.testing import SolverSuite


class TestMyData(SolverSuite):
    solver = "mydata"
    order = 1
