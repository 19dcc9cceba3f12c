"""One command that makes a leaderboard of every named system and records it.

Usage: python benchmarks/leaderboard/run.py fashion-mnist|emoji [--time 60s] [--models a,b]
       [--data DIR] [--work DIR] [--limit N]
Cost:  17 recognizers times --time, and at most as long again for scoring. Scoring all 10,000 test
       pictures of Fashion-MNIST costs a second or less for the quick ones and minutes for those
       that answer 30 a second; where all together would take longer than all trainings, every
       recognizer is scored on the same random half (or quarter, ...) and the record says so.

"fashion-mnist" needs the Debian package dataset-fashion-mnist (or --data). "emoji" builds class
folders of 64 x 64 colour pictures from the npm package emoji-datasource-google: the category of
an emoji is its class; emoji_folders.py makes them and nothing of them is kept in the repository.
Writes results/NAME.json (the record), and NAME.html, NAME.svg (for the README) beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from emoji_folders import write_emoji_folders
from record import Claim, Measurement, Record, commit, machine, versions

HERE = Path(__file__).resolve().parent
FASHION = Path("/usr/share/datasets/fashion-mnist")
SYSTEMS = ("sift", "surf", "hog", "svm", "random-forest", "vgg", "resnet", "inception", "auto")
WANTED = 12


def main() -> None:
    options = parsed()
    about = machine()
    work = options.work or Path(tempfile.mkdtemp(prefix="clearsight-leaderboard-"))
    data = data_of(options, work)
    out = work / options.name
    command = [str(Path(sys.executable).with_name("clearsight")), "leaderboard", str(data)]
    command += ["--out", str(out), "--json"]
    if (out / "plan.json").is_file():
        command.append("--resume")
    else:
        command += ["--time", options.time, "--seed", str(options.seed)]
        command += ["--models", options.models] if options.models else []
    command += ["--limit", str(options.limit)] if options.limit else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    board: dict[str, Any] = json.loads(done.stdout)
    results = HERE / "results"
    record(options, board, about).write(results / f"{options.name}.json")
    for suffix in (".html", ".svg"):
        told = (out / f"leaderboard{suffix}").read_text("utf-8").replace(f"{work}/", "")
        (results / f"{options.name}{suffix}").write_text(told, "utf-8")
    print(f"{results / options.name}.json; runs are kept in {out}")


def record(options: argparse.Namespace, board: dict[str, Any], about: dict[str, Any]) -> Record:
    measurements = [
        Measurement.of("test pictures scored", "pictures", [board["n"]]),
        Measurement.of("test pictures there are", "pictures", [board["of"]]),
        Measurement.of("time for each training", "s", [board["time_s"]]),
    ]
    for run in board["runs"]:
        name, cost = f"{run['place']}. {run['name']} [{run['group']}]", run["cost"]
        values = {
            "accuracy": ("", run["accuracy"]),
            "accuracy, low end": ("", run["accuracy_ci"][0]),
            "accuracy, high end": ("", run["accuracy_ci"][1]),
            "balanced accuracy": ("", run["balanced_accuracy"]),
            "macro F1": ("", run["macro_f1"]),
            "log-loss": ("", run["log_loss"]),
            "calibration error": ("", run["ece"]),
            "training": ("s", run["train_s"]),
            "one picture from its bytes, p50": ("ms", cost["picture"]["p50_ms"]),
            "one picture from its bytes, p95": ("ms", cost["picture"]["p95_ms"]),
            "one decoded picture, p50": ("ms", cost["model"]["p50_ms"]),
            "pictures from bytes": ("1/s", cost["picture_rate"]),
            "Bundle": ("MB", cost["bundle_bytes"] / 1e6),
        }
        if cost["memory_mib"] is not None:
            values["memory"] = ("MiB", cost["memory_mib"])
        measurements += [
            Measurement.of(f"{name}: {what}", unit, [value])
            for what, (unit, value) in values.items()
        ]
    return Record(
        name=f"leaderboard/{options.name}",
        command=f"python benchmarks/leaderboard/run.py {' '.join(sys.argv[1:])}",
        machine=about,
        versions=versions(
            "clearsight", "torch", "timm", "opencv-python-headless", "scikit-learn", "onnxruntime",
            "openvino",
        ),
        commit=commit(),
        measurements=measurements,
        claims=claims(board),
    )  # fmt: skip


def claims(board: dict[str, Any]) -> list[Claim]:
    """Return what the leaderboard promises, met or not; failures are named."""
    names = [run["name"] for run in board["runs"]]
    present = [kind for kind in SYSTEMS if any(kind in name for name in names)]
    first = board["runs"][0]["accuracy"]
    auto = next((run["accuracy"] for run in board["runs"] if run["name"].startswith("auto")), 0.0)
    late = [run for run in board["runs"] if run["train_s"] > board["time_s"]]
    failed = "; ".join(f"{item['name']}: {item['reason']}" for item in board["failed"])
    return [
        Claim(
            text="recognizers ranked" + (f" (not trained: {failed})" if failed else ""),
            target=WANTED,
            got=len(names),
            met=len(names) >= WANTED,
        ),
        Claim(
            text=f"of the systems {', '.join(SYSTEMS)}, present",
            target=len(SYSTEMS),
            got=len(present),
            met=len(present) == len(SYSTEMS),
        ),
        Claim(
            text="accuracy of auto, the best one's",
            target=round(first, 4),
            got=round(auto, 4),
            met=auto >= first,
        ),
        Claim(
            text="trainings that took longer than their time"
            + "".join(f", {run['name']} {run['train_s']} s" for run in late),
            target=0,
            got=len(late),
            met=not late,
        ),
    ]


def data_of(options: argparse.Namespace, work: Path) -> Path:
    """Return the data set, built first where it has to be."""
    if options.data is not None:
        return Path(options.data)
    if options.name == "fashion-mnist":
        return FASHION
    folder = work / "emoji-pictures"
    return folder if folder.is_dir() else write_emoji_folders(folder)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("fashion-mnist", "emoji"))
    parser.add_argument("--time", default="60s", help="for each recognizer")
    parser.add_argument("--models", help="as for clearsight leaderboard; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="score a random sample of so many pictures")
    parser.add_argument("--data", type=Path, help="another folder with the pictures")
    parser.add_argument("--work", type=Path, help="where runs are kept; used again, it resumes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
