"""The picture of an evaluation: what is drawn of a set of backbones beside real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polydiff.support.pictures import new_figure, to_png
from polydiff_protein.measures import COMPACT, CONTACT, Measures, expected_gyration
from polydiff_protein.ramachandran import ALLOWED, CELL
from polydiff_protein.secondary import fractions
from polydiff_protein.structure import Backbone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MADE, _REAL = "tab:blue", "0.6"
_TORSIONS = 20_000  # points that a Ramachandran plot shows at most


def evaluation_sheet(made: Sequence[Measures], real: Sequence[Measures], shown: Backbone) -> bytes:
    """Phi and psi of both sets, the contacts of one backbone, gyration against length, secondary structure
    and contacts, as a PNG picture."""
    figure = new_figure(13, 8)
    axes = figure.subplots(2, 3).ravel()
    _ramachandran(axes[0], made, f"φ, ψ of {len(made)} samples", _MADE)
    _ramachandran(axes[1], real, f"φ, ψ of {len(real)} real", _REAL)
    _contact_map(axes[2], shown)
    _gyration(axes[3], made, real)
    _secondary(axes[4], made, real)
    _neighbours(axes[5], made, real)
    return to_png(figure)


def _ramachandran(axes: Axes, measured: Sequence[Measures], title: str, colour: str) -> None:
    phi, psi = (np.concatenate([getattr(m, name) for m in measured]) for name in ("phi", "psi"))
    some = np.random.default_rng(0).permutation(len(phi))[:_TORSIONS]
    axes.plot(phi[some], psi[some], ".", color=colour, ms=2, alpha=0.4, mew=0)
    middles = np.arange(-180 + CELL / 2, 180, CELL)
    axes.contour(middles, middles, ALLOWED.T, [0.5], colors="black", linewidths=0.8)
    axes.set(xlim=(-180, 180), ylim=(-180, 180), xlabel="φ", ylabel="ψ", title=title, aspect="equal")
    axes.set_xticks(range(-180, 181, 90))
    axes.set_yticks(range(-180, 181, 90))


def _contact_map(axes: Axes, shown: Backbone) -> None:
    ca = shown.ca.astype(np.float64)
    distances = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
    image = axes.imshow(distances, cmap="viridis_r", vmin=0, vmax=3 * CONTACT, origin="lower")
    axes.contour(distances < CONTACT, [0.5], colors="black", linewidths=0.5)
    figure = axes.figure
    figure.colorbar(image, ax=axes, label="Å between Cα", shrink=0.8)
    title = f"distances in {shown.name or 'a sample'}; lines at {CONTACT:g} Å"
    axes.set(title=title, xlabel="residue", ylabel="residue")


def _gyration(axes: Axes, made: Sequence[Measures], real: Sequence[Measures]) -> None:
    for measured, colour, label, size in ((real, _REAL, "real", 4), (made, _MADE, "samples", 7)):
        points = np.array([chain for m in measured for chain in m.chains])
        axes.plot(points[:, 0], points[:, 1], ".", color=colour, ms=size, label=label)
    lengths = np.linspace(*axes.get_xlim(), 50).clip(1)
    curve = np.array([expected_gyration(n) for n in lengths])
    axes.fill_between(lengths, COMPACT[0] * curve, COMPACT[1] * curve, color="tab:green", alpha=0.15)
    axes.set(title="gyration against length", xlabel="residues of a chain", ylabel="radius of gyration, Å")
    axes.legend()


def _secondary(axes: Axes, made: Sequence[Measures], real: Sequence[Measures]) -> None:
    for measured, colour, label, size in ((real, _REAL, "real", 4), (made, _MADE, "samples", 7)):
        shares = np.array([fractions(m.structure) for m in measured])
        means = ", ".join(f"{x:.0%}" for x in shares.mean(0))
        axes.plot(shares[:, 0], shares[:, 1], ".", color=colour, ms=size, label=f"{label}: {means}")
    axes.set(title="secondary structure", xlabel="helix", ylabel="strand", xlim=(-0.03, 1), ylim=(-0.03, 1))
    axes.legend(title="helix, strand, loop")


def _neighbours(axes: Axes, made: Sequence[Measures], real: Sequence[Measures]) -> None:
    edges: Any = np.arange(0, 10.5, 0.5)
    for measured, colour, label in ((real, _REAL, "real"), (made, _MADE, "samples")):
        means = np.array([m.contacts.mean() for m in measured]).clip(0, edges[-1])
        weights = np.full(len(means), 1 / len(means))
        axes.hist(means, edges, weights=weights, histtype="step", color=colour, label=label, lw=2)
    axes.set(title="contacts of a residue", xlabel="Cα within 8 Å, four or more apart", ylabel="share")
    axes.legend()
