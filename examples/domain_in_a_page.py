"""A domain in a page: melodies as text files of sixteen notes, trained and sampled from Python.

    python examples/domain_in_a_page.py            half a minute
    polydiff -p examples/domain_in_a_page.py domains            the same file is a plugin

The engine learns what the page tells it: how a file becomes numbers and comes back, and which network to use.
Seeds, solvers, guidance, records of how each sample was made, training with resume: those it has already.
"""

import random
import sys
import tempfile
from pathlib import Path

import polydiff
from polydiff.conditions import Categorical, ConditionSet
from polydiff.domain import Domain, Strict
from polydiff.errors import UsageError
from polydiff.hookspecs import hookimpl
from polydiff.spec import DomainInfo

polydiff_api = 1

NOTES = ["C", "D", "E", "F", "G", "A", "B", "c", "d", "e", "f", "g", "a", "b"]
LENGTH = 16


class Melodies(Domain):
    """Melodies of sixteen notes."""

    name = "melodies"
    suffixes = (".txt",)
    label = "shape"  # the folder that a training file lies in

    class Config(Strict):
        shapes: tuple[str, ...] = ("any",)

    @classmethod
    def configure(cls, dataset, overrides):
        return cls.Config(shapes=tuple(sorted(set(dataset.labels("shape")))))

    def conditions(self):
        return ConditionSet((Categorical(name="shape", choices=self.config.shapes),))

    def load(self, path):
        notes = path.read_text(encoding="utf-8").split()
        if len(notes) != LENGTH or not set(notes) <= set(NOTES):
            raise UsageError(f"{path}: a melody is {LENGTH} notes out of {' '.join(NOTES)}.")
        return notes

    def save(self, example, path):
        path.write_text(" ".join(example) + "\n", encoding="utf-8")
        return []

    def encode(self, examples):  # a height a note, of about unit variance
        import torch

        heights = torch.tensor([[NOTES.index(note) for note in notes] for notes in examples])
        return {"height": (heights[..., None] - 6.5) / 4.0}, {}

    def decode(self, state, mask):
        heights = (state["height"][..., 0] * 4.0 + 6.5).round().clamp(0, len(NOTES) - 1).int()
        return [[NOTES[height] for height in row] for row in heights.tolist()]

    def shapes(self, request):
        return {"height": (LENGTH, 1)}

    def processes(self):
        from polydiff.engine.processes import Gaussian

        return {"height": Gaussian()}

    def network(self):
        from polydiff.nn import SequenceTransformer

        return SequenceTransformer("height", 1, self.conditions().widths, width=64, depth=2)

    def preview(self, example):
        from polydiff.support.pictures import new_figure, to_png

        figure = new_figure(3, 2)
        figure.add_subplot().step(range(LENGTH), [NOTES.index(note) for note in example], where="mid")
        return to_png(figure)


@hookimpl
def polydiff_domains():
    return DomainInfo("melodies", "Melodies", "Sixteen notes.", Melodies, suffixes=(".txt",))


def write_melodies(folder: Path, count: int) -> None:
    """Melodies that rise, fall, or go up and come back, each with a wrong note now and then."""
    draw = random.Random(0)
    heights = {
        "rise": lambda i: 13 * i / 15,
        "fall": lambda i: 13 - 13 * i / 15,
        "arch": lambda i: 13 - abs(i - 7.5) * 26 / 15,
    }
    for shape, height in heights.items():
        (folder / shape).mkdir(parents=True)
        for number in range(count):
            notes = [NOTES[min(max(round(height(i) + draw.gauss(0, 0.6)), 0), 13)] for i in range(LENGTH)]
            (folder / shape / f"{number}.txt").write_text(" ".join(notes))


def main(steps: int) -> list[list[str]]:
    """Train on melodies in a folder of its own, and make one of each shape."""
    from polydiff.cli.main import main as command

    with tempfile.TemporaryDirectory() as name:
        data, model = Path(name, "data"), Path(name, "model")
        write_melodies(data, count=40)
        command(
            [
                *("-p", __file__, "train", "melodies", "--data", str(data), "-o", str(model)),
                *("--steps", str(steps), "--learning-rate", "2e-3", "--set", "pictures.every=0"),
            ]
        )
        samples = polydiff.load(str(model)).sample(3, seed=0, conditions={"shape": ["rise", "fall", "arch"]})
        return samples.examples


if __name__ == "__main__":
    for melody in main(steps=int(sys.argv[1]) if len(sys.argv) > 1 else 300):
        print(" ".join(melody))
