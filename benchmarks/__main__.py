"""All that concerns the solvers, in one run: `python -m benchmarks`.

What a step costs, the error on closed forms, the distance and samples a second of each shipped checkpoint,
and the picture of the errors, docs/images/solvers.png. Each part is also a command of its own.
"""

from __future__ import annotations

from benchmarks import arithmetic, checkpoints, closed_forms, picture


def main() -> None:
    arithmetic.main()
    closed_forms.main()
    checkpoints.main([])
    picture.main()


if __name__ == "__main__":
    main()
