"""The leaderboard: many recognizers, the same pictures, the same time, one ranking.

DIR/plan.json          what was asked for
DIR/runs/NAME          one RUN for each recognizer, as `clearsight train` writes it
DIR/logs/NAME.txt      what its training said
DIR/leaderboard.html   the report, with .json and .svg beside it
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time as clock
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from clearsight import api
from clearsight.core.config import Config
from clearsight.core.errors import (
    ConfigError,
    DataError,
    InterruptedRun,
    UnknownKeyError,
    UsageError,
)
from clearsight.core.files import read_json, storage_errors, write_json
from clearsight.core.progress import Progress
from clearsight.evaluate.comparison import Comparison
from clearsight.evaluate.comparison_report import Told, comparison_json, write_comparison
from clearsight.learn.run_folder import RunFolder

MODELS = (
    "sift+linear-svm",
    "surf+linear-svm",
    "hog+linear-svm",
    "hog+rbf-svm",
    "hog+random-forest",
    "sift+colour+gradient-boosting",
    "textbook",
    "compact",
    "vgg11_bn",
    "resnet18",
    "inception_v3",
    "mobilenetv4_conv_small",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "tf_efficientnet_lite0",
    "probe",
    "auto",
)
"""Every kind there is: classical, from scratch, pre-trained, and what `auto` makes of them."""
GRACE_S = 300.0
"""A training that takes twice its time and this is taken for stuck."""
STOPPING_S = 30.0
POLL_S = 0.5
REASON_LETTERS = 200


class Plan(Config):
    """What a leaderboard is asked to do; DIR/plan.json.

    Args:
        data: absolute path of the data set.
        models: names as `train --model` takes them.
        time_s: seconds for each, from the start of its process until its Bundle is on disk.
        seed: of every training and of the split.
    """

    data: str
    models: tuple[str, ...] = MODELS
    time_s: float = Field(default=300.0, gt=0)
    seed: int = Field(default=0, ge=0)

    @property
    def names(self) -> list[str]:
        """The models, each once, in order."""
        return list(dict.fromkeys(self.models))


@dataclass(frozen=True)
class Board:
    """A finished leaderboard.

    Args:
        found: the ranking.
        told: what the report tells beside it, failures among them.
        report: the HTML file.
    """

    found: Comparison
    told: Told
    report: Path

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight leaderboard --json` prints."""
        return {**comparison_json(self.found, self.told), "report": str(self.report)}


def plan_leaderboard(plan: Plan) -> dict[str, Any]:
    """Say what would be trained and how, without writing anything.

    Args:
        plan: what is asked for.

    Raises:
        DataError: the data set cannot be used.
    """
    return {
        **plan.model_dump(mode="json", exclude={"models"}),
        "models": {name: _planned(plan, name) for name in plan.names},
    }


def run_leaderboard(
    plan: Plan,
    out: Path,
    resume: bool,
    progress: Progress,
    engine: str | None = None,
    limit: int | None = None,
) -> Board:
    """Train every recognizer for the same time, then rank them on the same held-out pictures.

    Each training is a process of its own, so none inherits another's memory or threads, and one
    that fails is recorded with its reason while the others go on. The held-out part is touched
    once, at the end; scoring it takes no longer than training did (a random sample of it then,
    the same for all, and said so).

    Args:
        plan: what to train.
        out: a new folder; with `resume` one that a leaderboard was begun in.
        resume: keep what is finished; what is not is trained again from the start, so that none
            gets more time than another.
        progress: where to report.
        engine: see `api.compare`.
        limit: score a random sample of so many pictures.

    Raises:
        UsageError: `out` is in use, or a name of a chosen list is not known.
        DataError: fewer than two recognizers came about.
        InterruptedRun: stopped by Ctrl-C or SIGTERM; `resume` goes on.
    """
    plan = _open_folder(plan, out, resume)
    failed: dict[str, str] = {}
    runs: dict[str, Path] = {}
    with _sigterm_interrupts():
        for number, name in enumerate(plan.names, 1):
            run = out / "runs" / _file_name(name)
            progress.say(f"{number}/{len(plan.names)} {name}")
            reason = None if _finished(run) else _train(plan, name, run, out, progress)
            if reason is None:
                runs[_title(name, run)] = run
            else:
                failed[name] = reason
                progress.say(f"{name} failed", reason=reason)
    if len(runs) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise DataError(f"A ranking needs two recognizers, {len(runs)} came about. {reasons}")
    scoring_s = None if limit else plan.time_s * len(runs)
    found = api.compare_runs(runs, None, engine, limit, scoring_s, progress)
    told = _told(plan, out, failed)
    return Board(found, told, write_comparison(out / "leaderboard.html", found, told))


def _planned(plan: Plan, name: str) -> str:
    """Return what one recognizer would be, or why it would not."""
    settings = api.train_settings(
        None, [], time=f"{plan.time_s:g}s", epochs=None, model=name, seed=plan.seed
    )
    try:
        steps = api.plan_training(Path(plan.data), settings)["candidates"]
    except UsageError as error:
        return f"cannot be trained: {error}"
    return ", then ".join(
        f"{step['family']} on {step['input']['height']}x{step['input']['width']}" for step in steps
    )


def _open_folder(plan: Plan, out: Path, resume: bool) -> Plan:
    """Return the plan to follow: the one given, written down, or the one found in the folder."""
    file = out / "plan.json"
    if resume:
        if not file.is_file():
            raise UsageError(f"{out} holds no leaderboard to resume. Start without --resume.")
        found = Plan.parse(read_json(file))
        if found.data != plan.data:
            raise UsageError(f"{out} was begun on {found.data}, not on {plan.data}.")
        return found
    if out.exists() and any(out.iterdir()):
        hint = " or go on with --resume" if file.is_file() else ""
        raise UsageError(f"{out} is not empty. Choose another --out{hint}; nothing was changed.")
    if plan.models != MODELS:
        _check_names(plan)
    with storage_errors(out):
        (out / "runs").mkdir(parents=True, exist_ok=True)
        (out / "logs").mkdir(exist_ok=True)
    write_json(file, plan.model_dump(mode="json"))
    return plan


def _check_names(plan: Plan) -> None:
    """Refuse a mistyped name before hours are spent on the others."""
    if len(plan.names) < 2:
        raise ConfigError(f"A ranking needs two models or more; got {', '.join(plan.names)}.")
    for name in plan.names:
        settings = api.train_settings(
            None, [], time=f"{plan.time_s:g}s", epochs=None, model=name, seed=plan.seed
        )
        try:
            api.plan_training(Path(plan.data), settings)
        except UnknownKeyError:
            raise
        except UsageError:
            continue  # its own training says why, and the others go on


def _finished(run: Path) -> bool:
    """Return whether a run is complete; what an interrupted one left is removed."""
    if (run / "run.json").is_file() and RunFolder(run).read().state == "done":
        return True
    if run.exists():
        with storage_errors(run):
            shutil.rmtree(run)
    return False


def _train(plan: Plan, name: str, run: Path, out: Path, progress: Progress) -> str | None:
    """Train one recognizer in a process of its own; return why there is none, or None."""
    command = [sys.executable, "-P", "-m", "clearsight", "train", plan.data, "--out", str(run)]
    command += ["--model", name, "--time", f"{plan.time_s:g}s", "--seed", str(plan.seed), "--json"]
    log = out / "logs" / f"{_file_name(name)}.txt"
    with storage_errors(log), open(log, "wb") as said:
        process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            command, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
    try:
        answer = _wait(process, plan.time_s, name, progress)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"Stopped while {name} was trained. Finished recognizers are kept in {out}; "
            "the same command with --resume trains the rest."
        ) from None
    finally:
        _stop(process)
    if answer is None:
        return f"it took more than twice its time and {GRACE_S:.0f} s, and was stopped; see {log}"
    if process.returncode == 0:
        return None
    return _reason(process.returncode, answer, log)


def _wait(
    process: subprocess.Popen[bytes], time_s: float, name: str, progress: Progress
) -> bytes | None:
    """Wait for a training, and show how much of its time is gone; None when it is stuck."""
    began = shown = clock.monotonic()
    progress.start(name[:10], time_s, "s")
    try:
        while clock.monotonic() - began < 2 * time_s + GRACE_S:
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=POLL_S)[0]
            now = clock.monotonic()
            progress.advance(max(0.0, min(now, began + time_s) - shown))
            shown = now
    finally:
        progress.finish()
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a training that still runs: ask first, then do not."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPPING_S)
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _reason(code: int, answer: bytes, log: Path) -> str:
    with suppress(ValueError, KeyError, IndexError, TypeError):
        message = str(json.loads(answer.splitlines()[-1])["error"]["message"])
        first = message.strip().splitlines()[0]
        return first if len(first) <= REASON_LETTERS else f"{first[:REASON_LETTERS]}...; see {log}"
    if code < 0:
        kind = signal.Signals(-code).name
        memory = " (the system ends a process so when memory runs out)" if code == -9 else ""
        return f"its process was ended by {kind}{memory}; see {log}"
    return f"its process ended with code {code}; see {log}"


def _title(name: str, run: Path) -> str:
    """Return how a recognizer is called: its model, and what `auto` chose."""
    if name != "auto":
        return name
    return f"auto ({RunFolder(run).read().outcome['family']})"


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)


def _told(plan: Plan, out: Path, failed: Mapping[str, str]) -> Told:
    command = ["clearsight", "leaderboard", plan.data, "--time", f"{plan.time_s:g}s"]
    command += ["--out", str(out), "--seed", str(plan.seed)]
    if plan.models != MODELS:
        command += ["--models", ",".join(plan.names)]
    return Told(
        title=f"Leaderboard: {Path(plan.data).name}",
        budget_s=plan.time_s,
        failed=failed,
        command=shlex.join(command),
        machine=f"{os.cpu_count()} cores, {_processor()}",
    )


def _processor() -> str:
    with suppress(OSError, StopIteration, UnicodeDecodeError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    return platform.processor() or platform.machine()


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that no training is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
