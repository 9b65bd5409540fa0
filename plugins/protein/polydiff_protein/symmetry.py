"""Point groups of assemblies: a chain and its copies about an axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from polydiff_protein.config import symmetry_group


def rotations(symmetry: str | None) -> NDArray[np.float32]:
    """(copies, 3, 3) rotations about the origin, the identity first; one for None.

    Cn turns about z; Dn turns about z and by half a turn about x.

    >>> len(rotations("C3")), len(rotations("D2")), len(rotations(None))
    (3, 4, 1)
    """
    if symmetry is None:
        return np.eye(3, dtype=np.float32)[None]
    family, order = symmetry_group(symmetry)
    result: NDArray[np.float32] = (
        Rotation.create_group(f"{family}{order}", axis="Z").as_matrix().astype(np.float32)
    )
    return result
