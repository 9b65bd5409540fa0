"""The light half of the plugin: it describes the solver and imports nothing heavy."""

from polydiff.hookspecs import hookimpl
from polydiff.spec import ComponentInfo

polydiff_api = 1


@hookimpl
def polydiff_components() -> ComponentInfo:
    return ComponentInfo(
        "solver",
        "mydata",
        version=1,  # give results that differ a new version, and keep the old one beside it
        factory="polydiff_mydata.solver:mydata",
        summary="Straight on, as if the network's x0 were right",
        facts={"order": "1", "noise": "none", "calls": "1"},
    )
