"""Trains video/moving-digits on a GPU, which composes clips faster than a processor can read them.

    python scripts/train_moving_digits.py mnist_5k.csv.gz RUN --seconds 600

As `polydiff train video --recipe moving-digits`, with clips that are made where they are used and never come
twice. The steps are as many as fit into the time, by the pace of the first ones.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from polydiff.model import Model, make_schedule
from polydiff.support.settings import from_file, merged
from polydiff.training.loop import Batch, Interrupted, TrainingConfig, TrainingState, fit, make_accelerator
from polydiff.workflows.recipe import Recipe
from polydiff_video.domain import Video
from polydiff_video.moving_digits import DIGIT, FRAMES, SIZE, SPEED, digits_of, read_moving_digits
from polydiff_video.network import PHASES

TRIED = 30  # steps that tell the pace, after as many to warm up


def composed(digits: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Clips of two digits that bounce, as compose draws them, uint8 (count, FRAMES, SIZE, SIZE)."""
    device, room, shape = digits.device, SIZE - DIGIT, (count, 2, 1)
    angle = 2 * math.pi * torch.rand(shape, generator=random, device=device)
    speed = SPEED[0] + (SPEED[1] - SPEED[0]) * torch.rand(shape, generator=random, device=device)
    first = room * torch.rand((count, 2, 1, 2), generator=random, device=device)
    way = (speed * torch.arange(FRAMES, device=device))[..., None]
    straight = first + way * torch.stack([angle.sin(), angle.cos()], -1)
    folded = (straight % (2 * room)).abs()
    top, left = torch.minimum(folded, 2 * room - folded).round().long().unbind(-1)  # (count, 2, FRAMES)
    chosen = digits[torch.randint(len(digits), (count, 2), generator=random, device=device)]
    side = torch.arange(DIGIT, device=device)
    clips = digits.new_zeros(2, count, FRAMES, SIZE, SIZE)
    which = torch.arange(2, device=device)[:, None, None, None, None]
    clip = torch.arange(count, device=device)[:, None, None, None]
    frame = torch.arange(FRAMES, device=device)[:, None, None]
    rows = top.transpose(0, 1)[..., None, None] + side[:, None]
    columns = left.transpose(0, 1)[..., None, None] + side
    values = chosen.transpose(0, 1)[:, :, None].expand(-1, -1, FRAMES, -1, -1)
    clips.index_put_((which, clip, frame, rows, columns), values)
    return clips.amax(0)


def batches(domain: Video, digits: Tensor, count: int, seed: int) -> Callable[[int], Batch]:
    """Step to batch: the first half of every clip is given."""
    codec = domain.config.codec
    given = (torch.arange(FRAMES) < FRAMES // 2).to(digits.device).repeat_interleave(domain.codec.patches)

    def batch(step: int) -> Batch:
        random = torch.Generator(digits.device).manual_seed(seed * 2**32 + step)
        pixels = composed(digits, count, random).float() / (255 * codec.scale[0])
        tokens = torch.nn.functional.pixel_unshuffle(pixels[:, :, None], codec.patch)
        tokens = tokens.flatten(3).transpose(2, 3).reshape(count, -1, codec.patch**2)
        seen = given[:, None].float().expand(count, -1, 1)
        context = torch.cat([tokens * seen, seen, tokens.new_zeros(*seen.shape[:2], PHASES)], -1)
        return Batch({"frames": tokens, "context": context}, {}, {})

    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("digits", type=Path, help="mnist_5k.csv.gz")
    parser.add_argument("run", type=Path, help="the folder of the model")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--log-sigma", type=float, nargs=2, default=(2.0, 1.8), help="mean and deviation")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--start", type=Path, help="a model to go on from, of the same width and depth")
    asked = parser.parse_args()
    asked_for = {
        "config": {"network": {"width": asked.width, "depth": asked.depth}},
        "training": {
            "batch_size": asked.batch_size,
            "learning_rate": asked.learning_rate,
            "log_sigma_mean": asked.log_sigma[0],
            "log_sigma_std": asked.log_sigma[1],
            "precision": "auto",
        },
    }
    recipe = Recipe.read(merged(from_file(Video.recipes()["moving-digits"]), asked_for), "recipe")
    dataset = read_moving_digits(asked.digits, clips=1000)
    domain = Video(Video.configure(dataset, recipe.config))
    torch.manual_seed(0)
    network, before = domain.network(), 0
    if asked.start:
        start = Model.load(asked.start, "video")
        network.load_state_dict(start.network.state_dict())
        domain, before = Video(start.domain.config), start.manifest.training["examples"]
    accelerator = make_accelerator()
    digits = torch.from_numpy(digits_of(asked.digits, "train")).to(accelerator.device)
    config = replace(
        recipe.training_config(), seed=before, steps=TRIED, log_every=TRIED, checkpoint_every=10**9
    )
    data = batches(domain, digits, config.batch_size, config.seed)
    began = time.perf_counter()
    reached: list[TrainingState] = []

    def tell(state: TrainingState) -> None:
        reached[:] = [state]
        if state.log:
            print(f"{state.step} {time.perf_counter() - began:.0f} s", state.log, flush=True)

    def trained(config: TrainingConfig, folder: Path) -> TrainingState:
        return fit(
            network, domain.processes(), make_schedule(recipe.schedule), data, config, folder,
            sigma_data=recipe.sigma_data, accelerator=accelerator, callbacks=(tell,),
        )  # fmt: skip

    for _ in range(2):
        at = time.perf_counter()
        trained(config, asked.run / "pace")
        pace = (time.perf_counter() - at) / TRIED
    steps = max(int((asked.seconds - (time.perf_counter() - began)) / pace), 1)
    print(f"{pace * 1e3:.1f} ms a step, {steps} steps", flush=True)
    config = replace(config, steps=steps, log_every=200)
    with suppress(Interrupted):  # what was learned until then is kept
        trained(config, asked.run / "training")
    state = reached[0]
    network.load_state_dict(state.average)
    facts = {
        "examples": before + state.step * config.batch_size,
        "step": state.step,
        "recipe": recipe.model_dump(mode="json"),
    }
    model = Model.create(
        domain, network.cpu(), schedule=recipe.schedule, sigma_data=recipe.sigma_data,
        sampling=recipe.sampling, training=facts, card=recipe.card,
    )  # fmt: skip
    model.save(asked.run)


if __name__ == "__main__":
    main()
