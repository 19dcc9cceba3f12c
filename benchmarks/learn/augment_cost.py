"""What augmentations and mixes cost beside the training step that they feed.

    python benchmarks/learn/augment_cost.py [--rounds 7] [--photos] [--out FILE]

In one process, in turns: one training step (forward, loss, backward) of `compact` on 256 grey
pictures of 28 x 28, and every augmentation and mix with its default options on the same batch.
With --photos the same for 32 colour pictures of 224 x 224 and EfficientNet-Lite0. Takes half a
minute on 2 idle cores, with --photos a minute more.
Targets: the default of `compact` (shift-flip) at most 5 % of the step; any other at most 20 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.learn.augment import AUGMENTS, Chain
from clearsight.learn.mixes import MIXES
from clearsight.learn.networks.compact_network import CompactNetwork

HERE = Path(__file__).parent
DEFAULT, OTHERS = 0.05, 0.2
STEP = "training step"
CHAIN = "crop, flip, colour"


def main() -> None:
    """Measure, print and write the record."""
    options = parsed()
    about = record.machine()
    sets = {"28x28x1, batch 256": (pictures(256, 28, 1), small_network())}
    if options.photos:
        sets["224x224x3, batch 32"] = (pictures(32, 224, 3), photo_network())
    measurements, claims = [], []
    for size, (images, network) in sets.items():
        seconds = measure(images, network, options.rounds)
        step = statistics.median(seconds[STEP])
        for name, values in seconds.items():
            milliseconds = [1000 * value for value in values]
            measurements.append(record.Measurement.of(f"{name}, {size}", "ms", milliseconds))
        shares = {name: statistics.median(v) / step for name, v in seconds.items() if name != STEP}
        for name, share in shares.items():
            limit = DEFAULT if name == "shift-flip" else OTHERS
            text = f"{name} beside a training step, {size}"
            claims.append(
                record.Claim(text=text, target=limit, got=round(share, 4), met=share <= limit)
            )
    written = record.Record(
        name="learn/augment_cost",
        command="python benchmarks/learn/augment_cost.py" + (" --photos" * options.photos),
        machine=about,
        versions=record.versions("clearsight", "torch", "opencv-python-headless"),
        commit=record.commit(),
        measurements=measurements,
        claims=claims,
    )
    written.write(options.out)
    for claim in claims:
        print(f"{'met   ' if claim.met else 'MISSED'} {claim.text}: {claim.got} ({claim.target})")


def measure(images: Tensor, network: nn.Module, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every job in every round, in turns."""
    labels = torch.arange(len(images)) % 10
    pixels = images.permute(0, 3, 1, 2)
    network.train().to(memory_format=torch.channels_last)

    def step() -> None:
        network.zero_grad()
        nn.functional.cross_entropy(network(pixels.float()), labels).backward()

    jobs: dict[str, Callable[[], object]] = {STEP: step}
    numbers = torch.arange(len(images))
    augments = [(key, AUGMENTS.load(key)) for key in sorted(AUGMENTS.keys())]
    built = {key: Chain([augment(augment.Config())]) for key, augment in augments}
    parts = [built[key].steps[0] for key in CHAIN.split(", ")]
    for key, augment in (built | {CHAIN: Chain(parts)}).items():
        jobs[key] = lambda augment=augment: augment(images, numbers, 0, torch.Generator())
    for key, mix in [(key, MIXES.load(key)) for key in sorted(MIXES.keys())]:
        jobs[key] = lambda mix=mix(mix.Config()): mix(images, torch.Generator())
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn:  # the first round allocates
                seconds[name].append(time.perf_counter() - began)
    return seconds


def pictures(n: int, side: int, channels: int) -> Tensor:
    """Return smooth random uint8 pictures."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 7, 7, generator=random)
    large = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return (255 * large).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def small_network() -> nn.Module:
    """Return the network that `compact` makes for 28 x 28 pictures."""
    torch.manual_seed(0)
    return CompactNetwork(1, 10, stem_stride=2, widths=[64, 128], residuals=1)


def photo_network() -> nn.Module:
    """Return EfficientNet-Lite0 without weights."""
    import timm

    torch.manual_seed(0)
    model: nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    return model


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "augment_cost.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
