"""Point clouds as a domain: shapes in, points in a cube through the engine, shapes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from polydiff.conditions import Categorical
from polydiff.dataset import Dataset
from polydiff.domain import ConfiguredDomain, Metric, SampleRequest
from polydiff.file_domain import FileDomain, Format
from polydiff.support.validate import validated
from polydiff_pointcloud import files
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.config import PointCloudConfig, PointCloudOptions
from polydiff_pointcloud.data import read_dataset
from polydiff_pointcloud.frame import Frame
from polydiff_pointcloud.resolved import ResolvedRequest, resolve
from polydiff_pointcloud.training_view import TrainingView, draw_view

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polydiff.engine.processes import Process


class PointClouds(ConfiguredDomain, FileDomain):
    """Shapes as sets of points. The state is {"points": places in a cube, scaled to unit variance, "context":
    the places of the points that are given, and whether they are}; the context is carried, never noised.

    An example is a PointCloud of any size anywhere in space: `encode` brings it into the cube.
    """

    name: ClassVar[str] = "pointcloud"
    Config = PointCloudConfig
    Options = PointCloudOptions
    formats = dict.fromkeys(files.SUFFIXES, Format(files.read, files.write)) | dict.fromkeys(
        files.MESHES, Format(files.read)
    )
    picture = "polydiff_pointcloud.preview:views"
    sheet = "polydiff_pointcloud.preview:contact_sheet"
    notebook = "polydiff_pointcloud.viewer:embedded"
    inherit = ("network", "points", "lesson_points", "deviation", "mirror", "turning", "stretch", "judge")
    tolerance = 1e-4  # of the longest side, the farthest that any point is from the other cloud
    capabilities = frozenset({"variation", "inpaint", "variable"})
    label = "category"

    # --- tensors ----------------------------------------------------------------------------------------

    def encode(
        self, examples: Sequence[PointCloud | TrainingView]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        from polydiff.support.padding import pad_examples

        rows = [self._encoded(x if isinstance(x, TrainingView) else TrainingView.free(x)) for x in examples]
        points, real = pad_examples([points for points, _ in rows])
        context, _ = pad_examples([context for _, context in rows])
        state = {"points": points, "context": context}
        return state, {} if bool(real.all()) else {"points": real, "context": real}

    def _encoded(self, view: TrainingView) -> tuple[Tensor, Tensor]:
        """Points (N, 3) and context (N, 4)."""
        import torch

        inside = view.frame.into(view.cloud.points) / self.config.deviation
        points = torch.from_numpy(inside.astype(np.float32))
        given = torch.from_numpy(view.given)[:, None]
        return points, torch.cat([points * given, given], dim=1)

    def decode(self, state: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> list[PointCloud]:
        """Clouds in the cube from -1 to 1."""
        points, real = state["points"].float().cpu().numpy() * self.config.deviation, mask.get("points")
        rows = [x if real is None else x[real[i].cpu().numpy()] for i, x in enumerate(points)]
        return [PointCloud(x, frame=Frame()) for x in rows]

    def processes(self) -> dict[str, Process]:
        from polydiff.engine.processes import Fixed, Gaussian

        return {"points": Gaussian(), "context": Fixed()}

    def network(self) -> nn.Module:
        from polydiff_pointcloud.network import PointLatents

        return PointLatents(self.conditions().widths, **self.config.network.model_dump())

    # --- requests ---------------------------------------------------------------------------------------

    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        return {"points": (len(resolve(request, self.config).given), 3)}

    def carried(self, request: SampleRequest) -> dict[str, Tensor]:
        """The context: the places of the points that are kept."""
        return {"context": self._given(resolve(request, self.config))[1]}

    def init(self, request: SampleRequest) -> dict[str, Tensor]:
        """The source in its cube; of a variation of fewer points some, drawn by the seed."""
        resolved = resolve(request, self.config)
        if resolved.seen is not None:
            return {"points": self._given(resolved)[0]}
        cloud = request.source.thinned(len(resolved.given), request.seed)
        return {"points": self._encoded(TrainingView(cloud, resolved.given, resolved.frame))[0]}

    def known(self, request: SampleRequest) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The kept points."""
        points, context = self._given(resolve(request, self.config))
        return {"points": points}, {"points": context[:, 3].bool()}

    def _given(self, resolved: ResolvedRequest) -> tuple[Tensor, Tensor]:
        """Points (places, 3) and context (places, 4) of the points that are shown, and nothing elsewhere."""
        places = np.tile(np.array(resolved.frame.centre, np.float32), (len(resolved.given), 1))
        if resolved.seen is not None:
            places[resolved.given] = resolved.seen.points
        return self._encoded(TrainingView(PointCloud(places), resolved.given, resolved.frame))

    def paired(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The points of b in the order in which they lie nearest to those of a, all in all."""
        import torch

        from polydiff_pointcloud.distances import matched

        partners, _ = matched(a["points"].numpy(), b["points"].numpy())
        return {**b, "points": b["points"][torch.from_numpy(partners)]}

    def finish(self, example: PointCloud, request: SampleRequest) -> PointCloud:
        """Into the user's space, beside the points that are kept, which are the user's own."""
        resolved, source = resolve(request, self.config), request.source
        if source is None:
            category = request.conditions.get("category")
            return replace(example, category=category if isinstance(category, str) else "")
        made = resolved.frame.out_of(example.points[~resolved.given]).astype(np.float32)
        notes = tuple(f"source: {note}" for note in source.notes)
        if resolved.kept is None and len(made) < len(source):
            notes += (f"{len(made)} of the {len(source)} points of the source varied",)
        if source.normals is not None or source.colours is not None:
            notes += ("normals and colours of the source left out: new points have none",)
        points = resolved.result(source, made)
        return PointCloud(
            points, unit=source.unit, category=source.category, notes=notes, frame=resolved.frame
        )

    # --- data -------------------------------------------------------------------------------------------

    dataset = staticmethod(read_dataset)

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> PointCloudConfig:
        """Categories as conditions, and the deviation of the coordinates as measured."""
        given = dict(overrides)
        if "conditions" not in given:
            names = sorted({str(x) for x in dataset.labels("category") if x is not None})
            category = Categorical(name="category", choices=tuple(names), mixable=True) if names else None
            given["conditions"] = (category,) if category else ()
        if "deviation" not in given:
            seen = np.random.default_rng(0).permutation(len(dataset))[:500]
            clouds = [dataset[int(i)].load().points for i in seen]
            squares = [float((Frame.around(x).into(x) ** 2).mean()) for x in clouds]
            given["deviation"] = round(float(np.sqrt(np.mean(squares))), 4)
        return validated(PointCloudConfig, given, "config")

    def augment(
        self, example: PointCloud, conditions: Mapping[str, Any], seed: int
    ) -> tuple[TrainingView, Mapping[str, Any]]:
        """A training view: some of the points, mirrored, turned where the category has no front, each axis a
        little longer or shorter, with a part of it given."""
        rng = np.random.default_rng(seed)
        points = example.thinned(self.config.lesson_points, seed).points.astype(np.float64)
        if self.config.mirror and rng.random() < 0.5:
            points[:, 0] *= -1
        if conditions.get(self.label or "") in self.config.turning:
            angle = rng.uniform(0, 2 * np.pi)
            x, z = points[:, 0].copy(), points[:, 2].copy()
            points[:, 0] = np.cos(angle) * x + np.sin(angle) * z
            points[:, 2] = np.cos(angle) * z - np.sin(angle) * x
        points *= np.exp(self.config.stretch * rng.normal(size=3))
        return draw_view(PointCloud(points.astype(np.float32)), rng), conditions

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: PointCloud, b: PointCloud) -> float:
        """The farthest that any point of one shape is from the other, in longest sides (Hausdorff); each in
        its own cube, so that place and size do not count."""
        from scipy.spatial import cKDTree

        x, y = (Frame.around(cloud.points).into(cloud.points) for cloud in (a, b))
        return float(max(cKDTree(y).query(x)[0].max(), cKDTree(x).query(y)[0].max()) / 2)

    def metrics(self) -> dict[str, Metric]:
        from polydiff_pointcloud.evaluation import metrics

        return metrics(self.config.judge)

    def evaluate(self, samples: Dataset, reference: Dataset) -> dict[str, float]:
        """See polydiff_pointcloud.evaluation.evaluate."""
        from polydiff_pointcloud.evaluation import evaluate

        return evaluate(self, samples, reference)

    def evaluation_picture(self, samples: Dataset, reference: Dataset) -> bytes:
        """Samples, each above the nearest training shape."""
        from polydiff_pointcloud.evaluation import picture

        return picture(samples, reference)
