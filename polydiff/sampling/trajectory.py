"""The trajectory of a sample: x̂0 of every network call, and a picture of some of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from polydiff.domain import Domain
from polydiff.engine.denoisers import Cond, Denoiser, Mask, State, parts

MOST = 12  # pictures of one trajectory
Watch = Callable[[Tensor, dict[str, Tensor]], None]


def watched(denoiser: Denoiser, watch: Watch) -> Denoiser:
    """The denoiser, of whose every call `watch(t, x0_hat)` gets a copy."""

    def seen(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        x0_hat = denoiser(x, t, mask, cond)
        watch(t.clone(), {name: value.clone() for name, value in parts(x0_hat).items()})
        return x0_hat

    return seen


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
