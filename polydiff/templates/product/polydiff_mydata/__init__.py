"""The light half of the plugin: it describes the domain and imports nothing heavy."""

from polydiff.hookspecs import hookimpl
from polydiff.spec import DomainInfo

polydiff_api = 1


@hookimpl
def polydiff_domains() -> DomainInfo:
    return DomainInfo(
        name="mydata",
        title="Mydata",
        summary="Numbers and kinds in step, from CSV files.",
        factory="polydiff_mydata.domain:MyData",
        suffixes=(".csv",),
        previews=("png",),
        capabilities=("variation", "variable"),
    )
