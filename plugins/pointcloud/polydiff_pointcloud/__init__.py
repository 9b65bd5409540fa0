"""3D point clouds for polydiff: shapes by category, completed, at any density, as meshes."""

from pathlib import Path

from polydiff.hookspecs import hookimpl
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo

polydiff_api = 1

_CHECKPOINTS = Path(__file__).parent / "checkpoints"
_PRESETS = {
    "objects": ("CC-BY-4.0", "Furniture, plants, vehicles, buildings and more: 19 categories of shapes"),
}


@hookimpl
def polydiff_domains() -> DomainInfo:
    return DomainInfo(
        name="pointcloud",
        title="3D point clouds",
        summary="Shapes as points: by category, completed, at any density, as meshes",
        factory="polydiff_pointcloud.domain:PointClouds",
        suffixes=(".ply", ".npz", ".npy", ".xyz", ".glb", ".obj"),
        previews=("views",),
        capabilities=("variation", "inpaint", "variable"),
    )


@hookimpl
def polydiff_components() -> ComponentInfo:
    return ComponentInfo(
        "viewer", "views", 1, "polydiff_pointcloud.viewer:named_page", "Clouds that can be turned"
    )


@hookimpl
def polydiff_presets() -> list[PresetInfo]:
    return PresetInfo.shipped("pointcloud", _CHECKPOINTS, _PRESETS)
