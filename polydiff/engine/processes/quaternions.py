"""Rotations by way of unit quaternions (w, x, y, z), element by element: an entry's bits do not depend on how
many there are. All is float32 or float64, without a branch that asks the host, and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["conjugate", "exp", "from_matrix", "log", "normalised", "product", "to_matrix"]

_TINY = 1e-24  # under a root: where a length is zero its gradient is too
_SQUARINGS = 5


def product(p: Tensor, q: Tensor) -> Tensor:
    """The quaternion of rotation p after q, (..., 4)."""
    a, b, c, d = p.split(1, -1)
    w, x, y, z = q.split(1, -1)
    return torch.cat(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        -1,
    )


def conjugate(q: Tensor) -> Tensor:
    """The rotation backwards."""
    return torch.cat([q[..., :1], -q[..., 1:]], -1)


def normalised(q: Tensor) -> Tensor:
    """q (..., 4) at length one."""
    a, b, c, d = q.split(1, -1)
    return q / torch.sqrt(a * a + b * b + c * c + d * d)


def to_matrix(q: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4).

    >>> to_matrix(torch.tensor([0.0, 0.0, 0.0, 1.0])).tolist()  # half a turn about z
    [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    w, x, y, z = q.unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    result: Tensor = torch.stack(entries, -1).unflatten(-1, (3, 3))
    return result


def from_matrix(m: Tensor) -> Tensor:
    """The unit quaternion (..., 4), of either sign, of the rotation nearest to m (..., 3, 3); the identity's
    where m is zero.

    It is the main eigenvector of a 4 × 4 matrix that is linear in m (Davenport 1968), which for a rotation
    has rank one when |m| / √3 is added to its diagonal; what else there is otherwise, squaring takes away.
    For singular values s1 ≥ s2 ≥ s3 (s3 < 0 where m mirrors) with s2 + s3 > 0.5 that is true to 1e-5, near a
    rotation (s2 + s3 > 1.6) to all digits; where s2 + s3 nears zero no rotation is the nearest.
    The longest column is the vector, with no loss of digits at any angle.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in m.unbind(-2))
    size = torch.sqrt((a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h + i * i) / 3 + _TINY)
    ww, xx, yy, zz = size + a + e + i, size + a - e - i, size - a + e - i, size - a - e + i
    wx, wy, wz, xy, xz, yz = h - f, c - g, d - b, b + d, c + g, f + h
    entries = [ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz]
    k = torch.stack(entries, -1).unflatten(-1, (4, 4))
    for _ in range(_SQUARINGS):
        k = k / (k[..., 0, 0] + k[..., 1, 1] + k[..., 2, 2] + k[..., 3, 3])[..., None, None]
        k = sum(k[..., :, n : n + 1] * k[..., n : n + 1, :] for n in range(4))
    longest = torch.stack([k[..., n, n] for n in range(4)], -1).argmax(-1, keepdim=True)
    column = longest[..., None].expand(*longest.shape[:-1], 4, 1)
    return normalised(torch.gather(k, -1, column)[..., 0])


def exp(v: Tensor) -> Tensor:
    """The unit quaternion (..., 4) of a turn by |v| radians about v (..., 3)."""
    x, y, z = v.split(1, -1)
    angle = torch.sqrt(x * x + y * y + z * z + _TINY)
    return torch.cat([torch.cos(angle / 2), torch.sin(angle / 2) / angle * v], -1)


def log(q: Tensor) -> Tensor:
    """The turn (..., 3) of a unit quaternion, by at most π radians.

    >>> log(exp(torch.tensor([0.0, 0.5, 0.0]))).round(decimals=6).tolist()
    [0.0, 0.5, 0.0]
    """
    w, x, y, z = q.split(1, -1)
    sine = torch.sqrt(x * x + y * y + z * z + _TINY)
    ratio = 4 * torch.atan(sine / (1 + w.abs())) / sine  # atan2's bits do depend on how many there are
    return torch.where(w < 0, -ratio, ratio) * q[..., 1:]
