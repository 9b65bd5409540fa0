"""How a sample came about: what the network took the clean data to be, step by step."""

from __future__ import annotations

from torch import Tensor

from polydiff.domain import Domain

MOST = 12  # pictures of one trajectory


class Watcher:
    """Collects x̂0 of every network call for one sample at a time; `picture` draws them and starts anew."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._seen: list[tuple[float, dict[str, Tensor]]] = []

    def __call__(self, t: Tensor, x0_hat: dict[str, Tensor]) -> None:
        self._seen.append((float(t[0]), {name: x[:1].cpu() for name, x in x0_hat.items()}))

    def picture(self) -> bytes:
        """A PNG of at most `MOST` steps, the first and the last among them."""
        seen, self._seen = self._seen, []
        last = len(seen) - 1
        chosen = sorted({round(i * last / (MOST - 1)) for i in range(MOST)})
        examples = [self._domain.decode(seen[i][1], {})[0] for i in chosen]
        return self._domain.contact_sheet(examples, [f"call {i + 1}, t = {seen[i][0]:.3g}" for i in chosen])
