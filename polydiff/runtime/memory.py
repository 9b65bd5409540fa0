"""How many samples fit into memory at once: measured, not guessed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from polydiff.errors import UsageError

P = TypeVar("P")
A = TypeVar("A")

#: the share of what is free that a run takes where it is given no budget
SHARE = 0.5
_UNITS = " KMGT"


def halved_to_fit(run: Callable[[Sequence[P]], Sequence[A]]) -> Callable[[Sequence[P]], Sequence[A]]:
    """`run` with retries: when a batch does not fit into memory, it and all later ones are halved.

    Errors: UsageError when not even one request fits.
    """
    largest = sys.maxsize

    def fitted(batch: Sequence[P]) -> list[A]:
        nonlocal largest
        answers: list[A] = []
        while len(answers) < len(batch):
            part = batch[len(answers) : len(answers) + largest]
            try:
                answers += run(part)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise UsageError(
                        "One sample alone does not fit into the memory of the device: ask for a smaller one, "
                        f"or use device='cpu' ({str(error).splitlines()[0]})."
                    ) from error
                largest = len(part) // 2
        return answers

    return fitted


def largest_batch(peak: Callable[[int], int], budget: int, most: int) -> int:
    """How many samples at once stay within a budget, at most `most`.

    Args:
        peak: the bytes that so many take, measured. It is asked for one and for two, and the difference is
            what each more takes.
        budget: bytes.

    Errors: UsageError when one sample takes more than the budget.

    >>> largest_batch(lambda count: 100 + 10 * count, budget=205, most=64)
    10
    """
    one = peak(1)
    if one > budget:
        raise UsageError(f"One sample takes {in_words(one)}, and memory is limited to {in_words(budget)}.")
    each = peak(2) - one if most > 1 else 0
    return min(most, 1 + (budget - one) // each) if each > 0 else most


def peak_memory(work: Callable[[], object], device: torch.device | str) -> int:
    """The most bytes that lie on a CUDA device while `work` runs, weights included."""
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device)


def default_budget(device: torch.device | str) -> int:
    """A share of what this process has of a CUDA device and can still get."""
    return int(SHARE * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)))


def bytes_of(text: str | int) -> int:
    """A size such as "4GiB" as a number of bytes.

    >>> bytes_of("4GiB") == bytes_of("4 g") == bytes_of(4 * 2**30)
    True

    Errors: UsageError when the text is not a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    size = int(float(found[1]) * 1024 ** _UNITS.index(found[2].upper() or " ")) if found else 0
    if size < 1:
        raise UsageError(f"memory {text!r}: write a size, such as 4GiB or 500MiB.")
    return size


def in_words(size: int) -> str:
    """A number of bytes as text.

    >>> in_words(3 * 2**29), in_words(700)
    ('1.5 GiB', '700 B')
    """
    power = min((max(size, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    unit = f"{_UNITS[power]}iB" if power else "B"
    return f"{size / 1024**power:.3g} {unit}"
