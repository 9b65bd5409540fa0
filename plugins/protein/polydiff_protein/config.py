"""What fixes a model of backbones, and what may differ from design to design."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from polydiff.conditions import Condition
from polydiff.domain import Strict

MOST_RESIDUES = 1024
"""Of a whole assembly; memory grows with the square."""

FEWEST = 4
"""Residues of a chain."""

_LENGTH = re.compile(r"(\d+)(?:-(\d+))?")
_SYMMETRY = re.compile(r"([CcDd])(\d+)")


class NetworkConfig(Strict):
    """Sizes of polydiff_protein.network.BackboneNetwork."""

    width: int = Field(default=192, ge=16)
    vectors: int = Field(default=48, ge=8)
    depth: int = Field(default=8, ge=2)
    heads: int = Field(default=8, ge=1)
    pairs: int = Field(default=48, ge=8)


class ProteinConfig(Strict):
    """A model of backbones. scale: standard deviation of the coordinates in Å, so that they have unit
    variance inside. length: how many residues a design has where nobody says. longest: the longest chain that
    it was trained on. shown_structure, shown_motif: how often training shows the secondary structure, and a
    motif.
    """

    network: NetworkConfig = NetworkConfig()
    scale: float = Field(default=7.7, gt=0)
    length: int = Field(default=100, ge=4, le=MOST_RESIDUES)
    longest: int = Field(default=128, ge=4)
    shown_structure: float = Field(default=0.2, ge=0, le=1)
    shown_motif: float = Field(default=0.3, ge=0, le=1)
    conditions: tuple[Condition, ...] = ()


class ProteinOptions(Strict):
    """What may be asked of one design."""

    length: str | None = Field(
        default=None, description="Residues of a chain: 80, or 80-120 for one drawn by the seed."
    )
    contigs: str | None = Field(
        default=None,
        description="Motifs of the source between new residues, as in 10-20/A45-62/10-30.",
    )
    symmetry: str | None = Field(
        default=None, description="Copies of the chain about an axis: C2 to C8, or D2 to D4."
    )
    structure: str | None = Field(
        default=None,
        description="Secondary structure, a letter a residue: H helix, E strand, L loop, - any.",
    )

    @field_validator("length")
    @classmethod
    def _check_length(cls, text: str | None) -> str | None:
        if text is not None:
            length_range(text)
        return text

    @field_validator("symmetry")
    @classmethod
    def _check_symmetry(cls, text: str | None) -> str | None:
        if text is None:
            return None
        group = symmetry_group(text)
        return f"{group[0]}{group[1]}"

    @field_validator("structure")
    @classmethod
    def _check_structure(cls, text: str | None) -> str | None:
        if text is None:
            return None
        letters = text.upper().replace("C", "L").replace("X", "-")
        wrong = next((i for i, letter in enumerate(letters) if letter not in "HEL-"), None)
        if wrong is not None:
            raise ValueError(f"letter {wrong + 1} is {text[wrong]!r}: write H, E, L, or - for any")
        return letters or None


def length_range(text: str) -> tuple[int, int]:
    """The fewest and the most residues of a chain. Raises ValueError.

    >>> length_range("80"), length_range("80-120")
    ((80, 80), (80, 120))
    """
    match = _LENGTH.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is no length: write 80, or 80-120")
    low = int(match[1])
    high = int(match[2]) if match[2] else low
    if low > high:
        raise ValueError(f"{text!r} ends before it begins: write {high}-{low}")
    if low < FEWEST or high > MOST_RESIDUES:
        raise ValueError(f"{text!r} is outside {FEWEST} to {MOST_RESIDUES} residues")
    return low, high


def symmetry_group(text: str) -> tuple[str, int]:
    """("C", n) or ("D", n). Raises ValueError.

    >>> symmetry_group("c3")
    ('C', 3)
    """
    match = _SYMMETRY.fullmatch(text.strip())
    family, order = (match[1].upper(), int(match[2])) if match else ("", 0)
    if not 2 <= order <= {"C": 8, "D": 4}.get(family, 0):
        raise ValueError(f"{text!r} is none of C2 to C8 and D2 to D4")
    return family, order
