"""What the training loop costs beside a bare loop over tensors, and what pays on this machine.

    python benchmarks/learn/trainer_overhead.py [--rounds 5] [--pictures 12800] [--no-compile]

Random 28x28 grey pictures (their content does not matter for time), no augmentation. Networks:
`compact` (Muon, batches of 256) and `textbook` (Adam, batches of 32), each with its own optimizer
and schedule. The two sides take turns, and which one begins alternates:
- trainer: `train_network` as it is used, with budget, journal, seeds, validation every so often,
  the choice of the best weights and the story;
- bare loop: index, convert, forward, cross-entropy, backward, the same optimizer; nothing else.
The ratio of a round is bare seconds / trainer seconds for the same number of steps. Target: >= 0.9.
Then, for `compact`, bare loops in other forms beside the plain one (float32, channels last):
contiguous memory, bfloat16 autocast, torch.compile (compiling apart); and the trainer with weight
averaging, gradient clipping and four accumulated batches beside the trainer without.
Takes about 6 minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.core.nouns import Preprocessing
from clearsight.learn.families.textbook import _TextbookNetwork
from clearsight.learn.family import Budget, Job
from clearsight.learn.networks.compact_network import CompactNetwork
from clearsight.learn.optimizers import OPTIMIZERS
from clearsight.learn.schedules import SCHEDULES
from clearsight.learn.trainers._optimizers import Optimizers, default_groups
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.training import Training

HERE = Path(__file__).parent
CLASSES, SIDE = 10, 28
VALIDATION_PART = 24  # 2,500 to 60,000, as on Fashion-MNIST
TARGET = 0.9
RECIPES = {
    "compact": Recipe(lr=0.03, optimizer="muon", weight_decay=0.01, batch_size=256),
    "textbook": Recipe(lr=1e-3, optimizer="adam", batch_size=32, schedule="constant"),
}


def make_network(name: str) -> nn.Module:
    """Return the network with its default widths."""
    torch.manual_seed(0)
    if name == "textbook":
        return _TextbookNetwork(1, SIDE, SIDE, CLASSES)
    return CompactNetwork(1, CLASSES, stem_stride=2, widths=[64, 128], residuals=1)


class Bench:
    """Runs either side on the same pictures."""

    def __init__(self, pictures: int) -> None:
        random = np.random.default_rng(0)
        shape = (pictures + pictures // VALIDATION_PART, SIDE, SIDE, 1)
        self.images = random.integers(0, 256, shape, dtype=np.uint8)
        self.labels = random.integers(0, CLASSES, len(self.images))
        self.n = pictures

    def trainer(self, name: str, **training: object) -> float:
        """Return the seconds a step takes in the trainer."""
        with tempfile.TemporaryDirectory() as work:
            job = Job(
                train_images=self.images[: self.n],
                train_labels=self.labels[: self.n],
                val_images=self.images[self.n :],
                val_labels=self.labels[self.n :],
                classes=tuple(str(number) for number in range(CLASSES)),
                preprocessing=Preprocessing(height=SIDE, width=SIDE, channels=1),
                seed=0,
                budget=Budget(epochs=1),
                work=Path(work),
                open_model=lambda model: None,  # type: ignore[arg-type, return-value]
                training=Training.parse(dict(training)),
            )
            network = make_network(name)
            began = time.perf_counter()
            story = train_network(network, job, RECIPES[name])
            return (time.perf_counter() - began) / story["steps"]

    def bare(
        self,
        name: str,
        channels_last: bool = True,
        autocast: torch.dtype | None = None,
        compiled: Callable[[nn.Module], nn.Module] | None = None,
    ) -> float:
        """Return the seconds a step takes in a bare loop."""
        recipe, network = RECIPES[name], make_network(name)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network.to(memory_format=layout)  # type: ignore[call-overload]
        optimizers = _optimizers(network, recipe)
        schedule = SCHEDULES.load(recipe.schedule)
        schedule = schedule(schedule.Config())
        forward = compiled(network) if compiled else network
        images, labels = torch.from_numpy(self.images[: self.n]), torch.from_numpy(self.labels)
        steps = self.n // recipe.batch_size
        precision = torch.autocast("cpu", autocast) if autocast else contextlib.nullcontext()
        network.train()
        if compiled:
            self._step(forward, images[: recipe.batch_size], labels, layout, precision)
        began = time.perf_counter()
        order = torch.randperm(self.n)
        for step in range(steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            self._step(forward, images[chosen], labels[chosen], layout, precision)
            optimizers.step(schedule(step / steps))
        return (time.perf_counter() - began) / steps

    @staticmethod
    def _step(forward, images, labels, layout, precision) -> float:  # type: ignore[no-untyped-def]
        pixels = images.permute(0, 3, 1, 2).to(torch.float32).contiguous(memory_format=layout)
        with precision:
            logits = forward(pixels)
        loss = nn.functional.cross_entropy(logits.float(), labels[: len(images)])
        loss.backward()
        return float(loss.detach())


def _optimizers(network: nn.Module, recipe: Recipe) -> Optimizers:
    made = OPTIMIZERS.load(recipe.optimizer)
    groups = default_groups(network, recipe.weight_decay)
    return Optimizers(network, made(made.Config()), groups, recipe.lr)


def in_turns(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Return seconds a step by side; every second round goes backwards; the first is dropped."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        names = list(sides) if number % 2 else list(sides)[::-1]
        for name in names:
            seconds = sides[name]()
            if number:
                found[name].append(seconds)
        print({name: f"{values[-1]:.4f}" for name, values in found.items() if values}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=12_800)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    machine, bench = record.machine(), Bench(options.pictures)
    found: list[record.Measurement] = []
    claims: list[record.Claim] = []

    def note(prefix: str, times: dict[str, list[float]], base: str) -> dict[str, float]:
        medians = {}
        for name, values in times.items():
            ratios = [plain / value for plain, value in zip(times[base], values, strict=True)]
            milliseconds = [value * 1000 for value in values]
            found.append(record.Measurement.of(f"{prefix}: {name}", "ms/step", milliseconds))
            if name != base:
                label = f"{prefix}: speed of {name} / {base}"
                found.append(record.Measurement.of(label, "ratio", ratios))
                medians[name] = found[-1].median
        return medians

    for name in RECIPES:
        sides = {
            "trainer": lambda name=name: bench.trainer(name),
            "bare loop": lambda name=name: bench.bare(name),
        }
        got = note(name, in_turns(options.rounds, sides), "bare loop")["trainer"]
        text = f"{name}: trainer at >= {TARGET} of a bare loop over tensors"
        claims.append(record.Claim(text=text, target=TARGET, got=got, met=got >= TARGET))
    forms: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bench.bare("compact"),
        "contiguous": lambda: bench.bare("compact", channels_last=False),
        "bfloat16": lambda: bench.bare("compact", autocast=torch.bfloat16),
    }
    if not options.no_compile:
        forms["compiled"] = lambda: bench.bare("compact", compiled=torch.compile)
    note("compact forms", in_turns(options.rounds, forms), "bare loop")
    parts: dict[str, Callable[[], float]] = {
        "trainer": lambda: bench.trainer("compact"),
        "with ema": lambda: bench.trainer("compact", averaging="ema"),
        "with swa": lambda: bench.trainer("compact", averaging="swa"),
        "with clipping": lambda: bench.trainer("compact", clip=1.0),
        "in 4 accumulated batches": lambda: bench.trainer("compact", batch_size=64, accumulate=4),
    }
    note("compact trainer", in_turns(options.rounds, parts), "trainer")
    result = record.Record(
        name="trainer-overhead",
        command=f"python benchmarks/learn/trainer_overhead.py --rounds {options.rounds} "
        f"--pictures {options.pictures}" + (" --no-compile" if options.no_compile else ""),
        machine=machine,
        versions=record.versions("torch", "numpy"),
        commit=record.commit(),
        measurements=found,
        claims=claims,
    )
    result.write(HERE / "results" / "trainer_overhead.json")
    for claim in claims:
        print(f"{claim.text}: {claim.got:.3f} ({'met' if claim.met else 'MISSED'})")


if __name__ == "__main__":
    main()
