"""Standard, hardened, adversarially trained x clean, corrupted, deformed, attacked.

    python benchmarks/robust/hardening.py [--data FOLDER] [--models compact hog+linear-svm probe]
        [--time 5m] [--adversarial-time 15m] [--hardening prime] [--adversarial pgd]
        [--options eps=0.1 steps=2 step_share=0.75] [--eps 0.1] [--pictures 1000] [--attacked 300]
        [--seeds 0] [--out FILE]

DATA is Fashion-MNIST (Debian package dataset-fashion-mnist); for a colour set give class folders,
such as those that benchmarks/leaderboard/emoji_folders.py writes.

Each side is one `clearsight train`: standard and hardened in `--time` each, adversarial in
`--adversarial-time` (15 minutes of 2 cores are 30 CPU minutes; what was used is measured). Scored
once, on the test part: clean on all of its pictures, corrupted (the 15 published kinds, 5
severities each), deformed (7 kinds, 5 severities) on the first `--pictures` of a fixed draw,
attacked (the ensemble FGSM, PGD, APGD-CE, APGD-T, Square, each on what those before it left right;
without gradients Square alone) on the first `--attacked` of them. A hardening by attack is left
out for models without gradients.

Targets, for compact: mean corruption error cut by at least 40 % at no more than 1 point of clean
accuracy; on Fashion-MNIST with eps 0.1 clean >= 85 %, under the ensemble >= 75 %.
Takes 2 x time + adversarial-time + about 5 minutes a model and seed on 2 cores; a pre-trained
model looks at larger pictures and takes about 10 minutes more a side. Writes the record, and a
table of it as a picture (FILE with .svg) for the README.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hardening_table import Row, table
from record import Claim, Measurement, Record, commit, machine, versions

from clearsight.api.scoring import held_out
from clearsight.core.errors import UsageError
from clearsight.core.seeds import generator
from clearsight.data.cache import build_cache
from clearsight.engines.open import open_predictor
from clearsight.engines.torch_live import open_live
from clearsight.robust.attacked import ORDER, Rounded, attack
from clearsight.robust.attacks import ATTACKS
from clearsight.robust.corruptions import CORRUPTIONS
from clearsight.robust.deformations import DEFORMATIONS
from clearsight.robust.distortion import SEVERITIES

HERE = Path(__file__).resolve().parent
FASHION = Path("/usr/share/datasets/fashion-mnist")
STANDARD, HARDENED, ADVERSARIAL = "standard", "hardened", "adversarial"
COLUMNS = ("clean", "corrupted", "deformed", "attacked")
CUT, MOST_LOST, CLEAN, UNDER_ATTACK = 0.4, 1.0, 0.85, 0.75


@dataclass
class Found:
    """Values by (model, side, what), one a seed."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def add(self, model: str, side: str, told: dict[str, float]) -> None:
        """Note what one recognizer reached."""
        for what, value in told.items():
            self.values.setdefault((model, side, what), []).append(value)

    def median(self, model: str, side: str, what: str) -> float | None:
        """Return the median over seeds, or None."""
        values = self.values.get((model, side, what))
        return statistics.median(values) if values else None


def trained(options: argparse.Namespace, model: str, side: str, seed: int, run: Path) -> dict:
    """Train one side by the command line; return seconds of wall clock and of all cores."""
    words = ["train", options.data, "--out", run, "--model", model, "--seed", seed]
    if side == ADVERSARIAL:
        words += ["--time", options.adversarial_time, "--harden", options.adversarial]
        words += [w for o in options.options for w in ("--set", f"harden.options.{o}")]
    else:
        words += ["--time", options.time]
        words += ["--harden", options.hardening] * (side == HARDENED)
    before, began = _cpu_s(), time.monotonic()
    command(*words)
    return {"wall_s": time.monotonic() - began, "cpu_s": _cpu_s() - before}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def command(*words: object) -> dict[str, Any]:
    """Run the command line and return its JSON."""
    line = [sys.executable, "-m", "clearsight", *map(str, words), "--json", "--quiet"]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def scored(run: Path, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return accuracies of a run on the test part, plain and harder."""
    predictor = open_predictor(run)
    part, _ = held_out(run)
    cache = build_cache(part, predictor.preprocessing, folder)
    rows = generator(0, "hardening").permutation(len(cache.labels))[: options.pictures]
    images, labels = np.asarray(cache.images[rows]), cache.labels[rows]

    def accuracy(pictures: np.ndarray, truth: np.ndarray) -> float:
        parts = [pictures[i : i + 250] for i in range(0, len(pictures), 250)]
        scores = np.concatenate([predictor.logits(np.ascontiguousarray(p)) for p in parts])
        return float((scores.argmax(1) == truth).mean())

    def mean(registry: Any) -> float:
        ways = [registry.load(key) for key in registry.keys()]  # noqa: SIM118
        ways = [w for w in ways if w.group == "published"] or ways
        return statistics.mean(
            accuracy(way.at(severity)(images, seed=1), labels)
            for way in ways
            for severity in SEVERITIES
        )

    some = options.attacked
    return {
        "clean": accuracy(cache.images, cache.labels),
        "corrupted": mean(CORRUPTIONS),
        "deformed": mean(DEFORMATIONS),
        "attacked": under_attack(run, images[:some], labels[:some], 255 * options.eps),
    }


def under_attack(run: Path, images: np.ndarray, labels: np.ndarray, radius: float) -> float:
    """Return the share that no attack could make wrong."""
    try:
        model: Any = open_live(run)
        keys = ORDER
    except UsageError:
        model, keys = Rounded(open_predictor(run)), ("square",)
    left = np.arange(len(labels))
    for key in keys:
        make = ATTACKS.load(key)
        found = attack(model, images[left], labels[left], {key: make(make.Config())}, radius, 0)
        left = left[found.ensemble]
        if not len(left):
            break
    return len(left) / len(labels)


def claims(found: Found, model: str) -> list[Claim]:
    """Return the targets for one model."""
    wanted = []
    plain, hard = (found.median(model, side, "corrupted") for side in (STANDARD, HARDENED))
    clean = [found.median(model, side, "clean") for side in (STANDARD, HARDENED, ADVERSARIAL)]
    if plain is not None and hard is not None:
        cut = 1 - (1 - hard) / max(1e-9, 1 - plain)
        lost = 100 * ((clean[0] or 0) - (clean[1] or 0))
        wanted += [
            ("mean corruption error cut, share", CUT, cut, cut >= CUT),
            ("clean accuracy lost, points", MOST_LOST, lost, lost <= MOST_LOST),
        ]
    attacked = found.median(model, ADVERSARIAL, "attacked")
    if attacked is not None:
        wanted += [
            ("adversarially trained, clean", CLEAN, clean[2] or 0, (clean[2] or 0) >= CLEAN),
            ("adversarially trained, attacked", UNDER_ATTACK, attacked, attacked >= UNDER_ATTACK),
        ]
    return [
        Claim(text=f"{model}: {text}", target=target, got=round(got, 4), met=met)
        for text, target, got, met in wanted
    ]


def drawn(found: Found, options: argparse.Namespace) -> str:
    """Return the table of all that was measured, as SVG."""
    rows = []
    for model in options.models:
        for side in options.sides:
            shares = {what: found.median(model, side, what) for what in COLUMNS}
            rows.append(Row(model, side, shares))
    low = f"{100 * options.eps:g} % of the pixel range"
    told = (
        f"{Path(options.data).name} · hardened by {options.hardening}, adversarially trained by "
        f"{options.adversarial} · corrupted and deformed: {options.pictures} pictures, mean of all "
        f"kinds and 5 severities · attacked: {options.attacked} pictures, {low}"
    )
    return table("What hardening brings", told, COLUMNS, rows)


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=FASHION)
    parser.add_argument("--models", nargs="+", default=["compact", "hog+linear-svm", "probe"])
    parser.add_argument("--sides", nargs="+", default=[STANDARD, HARDENED, ADVERSARIAL])
    parser.add_argument("--time", default="5m")
    parser.add_argument("--adversarial-time", default="15m")
    parser.add_argument("--hardening", default="prime")
    parser.add_argument("--adversarial", default="pgd")
    parser.add_argument("--options", nargs="*", default=["eps=0.1", "steps=2", "step_share=0.75"])
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--attacked", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "hardening.json")
    return parser.parse_args()


def main() -> None:
    """Measure and write the record."""
    options, about, found = parsed(), machine(), Found()
    for model in options.models:
        for seed in options.seeds:
            for side in options.sides:
                with tempfile.TemporaryDirectory() as place:
                    run = Path(place) / "run"
                    try:
                        told = trained(options, model, side, seed, run)
                    except subprocess.CalledProcessError as error:
                        if error.returncode != UsageError.exit_code:
                            raise
                        print(f"{model} {side}: refused, left out", flush=True)
                        continue
                    told |= scored(run, options, Path(place) / "pixels")
                print(f"{model} {side} seed {seed}: {told}", flush=True)
                found.add(model, side, told)
    units = {"wall_s": "s", "cpu_s": "s"}
    measured = [
        Measurement.of(f"{model}, {side}: {what}", units.get(what, "share"), values)
        for (model, side, what), values in found.values.items()
    ]
    words = [f"--{name.replace('_', '-')} {getattr(options, name)}" for name in
             ("time", "adversarial_time", "hardening", "adversarial", "eps", "pictures",
              "attacked")]  # fmt: skip
    words += [f"--{name} {' '.join(map(str, getattr(options, name)))}" for name in
              ("models", "sides", "options", "seeds")]  # fmt: skip
    Record(
        name="robust/hardening",
        command=f"python benchmarks/robust/hardening.py {' '.join(words)}",
        machine=about,
        versions=versions("clearsight", "torch", "openvino", "onnxruntime", "numpy"),
        commit=commit(),
        measurements=measured,
        claims=[claim for model in options.models for claim in claims(found, model)],
    ).write(options.out)
    options.out.with_suffix(".svg").write_text(drawn(found, options), "utf-8")


if __name__ == "__main__":
    main()
