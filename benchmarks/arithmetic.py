"""What a step costs beyond the network: `python -m benchmarks.arithmetic`, on a GPU where there is one.

Each library steps through the same 20-step run with a denoiser that returns a stored tensor. Against it
stands a bare hand-written loop of the same method, made of float coefficients and in-place additions, that
makes the time tensor and calls the same denoiser.
Times are medians of rounds that alternate between the two, so that a busy machine slows both. Memory is the
peak of what a run holds beside its starting state and the answers, in units of the state. See README.md.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.peers.k_diffusion import sampling
from polydiff.engine.loop import Run, finish
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table

STEPS = 20
SHAPES = {"16 x 65,536": (16, 65536), "4 x 4,096": (4, 4096), "4 x 1,024": (4, 1024)}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Loop = Callable[[Tensor, Tensor], Tensor]


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += 1
        return function(*args, **(kwargs or {}))


def polydiff(table: Table) -> Loop:
    process = {"x": Gaussian()}

    def loop(x: Tensor, answer: Tensor) -> Tensor:
        first = Run(
            x={"x": x},
            h={"x": ()},
            anchor={},
            row=0,
            seeds=torch.zeros(len(x), dtype=torch.int64, device=DEVICE),
        )
        return finish(lambda *_: {"x": answer}, process, table, first).x["x"]

    return loop


def bare(table: Table) -> Loop:
    """The same numbers by hand: no processes, no masks, no history but a list."""
    rows = [(row.t, row.a, row.b, row.p) for row in table.rows]

    def loop(x: Tensor, answer: Tensor) -> Tensor:
        denoiser = lambda x, t: answer  # noqa: E731
        past: list[Tensor] = []
        for time_now, a, b, p in rows:
            x0_hat = denoiser(x, torch.full((len(x),), time_now, dtype=torch.float64, device=DEVICE))
            h = torch.add(x0_hat, x, alpha=p) if p else x0_hat
            past = [h, *past[:3]]
            x = x * a
            for weight, readout in zip(b, past, strict=False):
                x.add_(readout, alpha=weight)
        return x

    return loop


def naive(table: Table) -> Loop:
    """As a paper's formula is typed: x = a * x + b0 * h0 + b1 * h1 + ..."""
    rows = [(row.a, row.b, row.p) for row in table.rows]

    def loop(x: Tensor, answer: Tensor) -> Tensor:
        past: list[Tensor] = []
        for a, b, p in rows:
            past = [answer + p * x if p else answer, *past[:3]]
            x = a * x
            for weight, readout in zip(b, past, strict=False):
                x = x + weight * readout
        return x

    return loop


def from_k_diffusion(name: str) -> Loop:
    module = sampling()
    sigmas = module.get_sigmas_karras(STEPS, 0.002, 80.0, device=DEVICE)
    return lambda x, answer: getattr(module, name)(lambda *_, **__: answer, x, sigmas, disable=True)


def from_diffusers(name: str, **options: object) -> Loop:
    import diffusers

    def loop(x: Tensor, answer: Tensor) -> Tensor:
        scheduler = getattr(diffusers, name)(**options)
        scheduler.set_timesteps(STEPS, device=DEVICE)
        for t in scheduler.timesteps:
            x = scheduler.step(answer, t, x, return_dict=False)[0]
        return x

    return loop


def from_azula(name: str, **options: object) -> Loop:
    import types

    import azula.noise
    import azula.sample

    def loop(x: Tensor, answer: Tensor) -> Tensor:
        denoiser = lambda x, t, **_: types.SimpleNamespace(mean=answer)  # noqa: E731
        denoiser.schedule = azula.noise.VPSchedule()  # type: ignore[attr-defined]
        return getattr(azula.sample, name)(denoiser, steps=STEPS, silent=True, **options)(x)

    return loop


def loops() -> Iterator[tuple[str, str, Loop]]:
    """Name, the method whose bare loop it is held against, and the loop itself."""
    yield "polydiff adams-3 (default)", "adams", polydiff(make_table("adams", EDM(), STEPS))
    yield "polydiff dpmpp-2", "dpmpp", polydiff(make_table("dpmpp", EDM(), STEPS))
    yield "polydiff ddim", "ddim", polydiff(make_table("ddim", EDM(), STEPS))
    yield "typed formula, adams-3", "adams", naive(make_table("adams", EDM(), STEPS))
    yield "typed formula, dpmpp-2", "dpmpp", naive(make_table("dpmpp", EDM(), STEPS))
    wanted: list[tuple[str, str, Callable[[], Loop]]] = [
        ("k-diffusion dpmpp_2m", "dpmpp", lambda: from_k_diffusion("sample_dpmpp_2m")),
        ("k-diffusion euler", "ddim", lambda: from_k_diffusion("sample_euler")),
        ("k-diffusion lms", "adams", lambda: from_k_diffusion("sample_lms")),
        ("diffusers DPM++2M", "dpmpp", lambda: from_diffusers("DPMSolverMultistepScheduler")),
        ("diffusers UniPC-2", "dpmpp", lambda: from_diffusers("UniPCMultistepScheduler")),
        ("diffusers DDIM", "ddim", lambda: from_diffusers("DDIMScheduler")),
        ("azula DDIM", "ddim", lambda: from_azula("DDIMSampler")),
        ("azula zEAB-3", "adams", lambda: from_azula("zEABSampler", order=3)),
    ]
    for name, method, make in wanted:
        try:
            yield name, method, make()
        except ImportError as error:
            print(f"left out: {name} ({error})")


def measure(loop: Loop, reference: Loop, x: Tensor, answer: Tensor, rounds: int) -> tuple[float, float]:
    """Median seconds of each, in turns: of the processor, or on a GPU of the clock until it is done."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for kept, run in zip(times, (loop, reference), strict=True):
            before = _clock()
            run(x, answer)
            kept.append(_clock() - before)
    return statistics.median(times[0]), statistics.median(times[1])


def _clock() -> float:
    if DEVICE == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(loop: Loop, x: Tensor, answer: Tensor) -> float:
    """The most that a run holds at once beside x and the answer, in units of x."""
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loop(x, answer)
        return (torch.cuda.max_memory_allocated() - before) / x.nbytes
    with torch.profiler.profile(profile_memory=True) as profile:
        loop(x, answer)
    results = profile.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted((e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]")
    return max(accumulate(size for _, size in events), default=0) / x.nbytes


def synchronisations(loop: Loop, x: Tensor, answer: Tensor) -> int | None:
    """How often a run makes the host wait for the GPU; None on a CPU."""
    if DEVICE == "cpu":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop(x, answer)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def main() -> None:
    torch.set_num_threads(1)
    references = {name: bare(make_table(name, EDM(), STEPS)) for name in ("adams", "dpmpp", "ddim")}
    results = []
    for name, method, loop in [*loops(), *[(f"bare loop, {k}", k, v) for k, v in references.items()]]:
        result: dict[str, object] = {"name": name}
        with torch.no_grad():
            for label, shape in SHAPES.items():
                x, answer = torch.randn(2, *shape, 1, device=DEVICE)
                loop(x, answer)
                took, bare_took = measure(loop, references[method], x, answer, 9 if shape[1] > 5000 else 60)
                result[label] = {"us_a_step": 1e6 * took / STEPS, "ratio": took / bare_took}
            result["peak_memory"] = peak_memory(loop, x, answer)
            waits = synchronisations(loop, x, answer)
            result["synchronisations_a_step"] = None if waits is None else waits / STEPS
            with Count() as counter:
                loop(x, answer)
        result["operations_a_step"] = counter.count / STEPS
        results.append(result)
    print(table(results))
    named = {"device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu", "loops": results}
    Path(__file__).with_name("arithmetic.json").write_text(json.dumps(named, indent=1) + "\n")


def table(results: list[dict]) -> str:
    times = " | ".join(f"{s}: µs | ratio" for s in SHAPES)
    lines = [f"| loop | ATen operations a step | memory | synchronisations | {times} |"]
    lines.append("|---|" + "---:|" * (3 + 2 * len(SHAPES)))
    for result in results:
        cells = [f"{result[s]['us_a_step']:.0f} | {result[s]['ratio']:.2f}" for s in SHAPES]
        waits = result["synchronisations_a_step"]
        first = f"{result['operations_a_step']:.1f} | {result['peak_memory']:.1f} | "
        first += "" if waits is None else f"{waits:.1f}"
        lines.append(f"| {result['name']} | {first} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
