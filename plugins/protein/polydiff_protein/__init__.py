"""Protein backbones for polydiff: by length and fold, around motifs, in rings, with their checks."""

from pathlib import Path

from polydiff.hookspecs import hookimpl
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo

polydiff_api = 1

_CHECKPOINTS = Path(__file__).parent / "checkpoints"
_PRESETS = {
    "domains": ("CC0-1.0", "Backbones of 40 to 128 residues: by length and fold, around motifs, in rings"),
}


@hookimpl
def polydiff_domains() -> DomainInfo:
    return DomainInfo(
        name="protein",
        title="Protein backbones",
        summary="Backbones by length and fold, around motifs, in rings",
        factory="polydiff_protein.domain:Proteins",
        suffixes=(".pdb", ".cif", ".ent", ".mmcif"),
        previews=("ribbon",),
        capabilities=("variation", "inpaint", "variable"),
    )


@hookimpl
def polydiff_components() -> ComponentInfo:
    return ComponentInfo("viewer", "ribbon", 1, "polydiff_protein.viewer:page", "Ribbons that can be turned")


@hookimpl
def polydiff_presets() -> list[PresetInfo]:
    return PresetInfo.shipped("protein", _CHECKPOINTS, _PRESETS)
