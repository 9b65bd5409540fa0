"""A protein around a motif: the helix of protein G, and a new backbone that carries it.

    python examples/protein_motif.py            some ten seconds; writes design.pdb

A contig says what is kept and what is new: 18 to 24 new residues, residues 28 to 41 of chain A, and 18 to 24
new ones again.
"""

import sys
from pathlib import Path

import numpy as np

import polydiff

MOTIF = Path(__file__).parents[1] / "tests" / "protein" / "data" / "1igd.pdb"
CONTIGS = "18-24/A28-41/18-24"


def design(seed: int = 0, steps: int | None = None):
    """(sample, the protein it was made from). The same seed gives the same design."""
    model = polydiff.load("protein")
    [sample] = model.sample(1, seed=seed, steps=steps, source=MOTIF, contigs=CONTIGS)
    return sample, model.domain.load(MOTIF)


def motif_distance(made, source, length: int = 14) -> float:
    """How far the motif's Cα atoms in the design are from the source's, in Å, laid over each other."""
    first = source.numbers.tolist().index(28)
    target = source.ca[first : first + length].astype(float)
    return min(
        superposed(made.ca[i : i + length].astype(float), target) for i in range(len(made.ca) - length + 1)
    )


def superposed(a, b) -> float:
    """The root mean square distance after the best rigid motion (Kabsch 1976)."""
    a, b = a - a.mean(0), b - b.mean(0)
    u, _, v = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return float(np.sqrt(((a @ turn - b) ** 2).sum(1).mean()))


if __name__ == "__main__":
    sample, source = design(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    sample.save(Path("design.pdb"))
    print(sample.example)
    print(f"Its motif is {motif_distance(sample.example, source):.2f} Å from that of {MOTIF.name}.")
    print("design.pdb.json says how it was made; `polydiff ribbon design.pdb` shows it in a browser.")
