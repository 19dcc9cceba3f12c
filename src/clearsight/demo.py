"""The demo: the whole road on real pictures, told step by step."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time as clock
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clearsight import api
from clearsight.core.errors import ClearsightError
from clearsight.core.progress import Progress
from clearsight.data.dataset import Dataset

PICTURES_SENT = 8
ANSWER_TIMEOUT_S = 30


def run_demo(
    out: Path,
    time: str,
    port: int,
    keep_serving: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Check, train, evaluate, serve and ask the service, on Fashion-MNIST or digits.

    Args:
        out: folder for the run; a new one is made inside each time.
        time: training time, for example "90s".
        port: the service's port; when it is taken a free one is used, and said.
        keep_serving: leave the service up until Ctrl-C.
        progress: bars.
        say: called with each line of the story.

    Raises:
        ClearsightError: a step failed; the message says which.
    """
    from clearsight.data.check import check_dataset
    from clearsight.data.sample_sets import find_sample_set
    from clearsight.serve.run import Door, Serving, serve

    out.mkdir(parents=True, exist_ok=True)
    found = find_sample_set(out, progress)
    say(f"1. Pictures: {found.name} from {found.origin}.")
    report = check_dataset(found.path, progress=progress)
    say(f"2. Check: {report.found} found, {report.used} used, {len(report.issues)} issues.")
    run = _new_run(out, found.name.lower())
    started = clock.monotonic()
    settings = api.train_settings(None, [], time=time, epochs=None, model=None, seed=None)
    result = api.train_run(found.path, run, settings, progress, started, resume=False)
    say(f"3. Train: {result.family} in {result.seconds:.0f} s; Bundle in {result.bundle.path}.")
    evaluation, page = api.evaluate_run(run, None, None, progress=progress)
    figures = evaluation.to_json()
    low, high = figures["accuracy_ci"]
    say(
        f"4. Evaluate: test accuracy {figures['accuracy']:.4f} (95 % CI {low:.4f}-{high:.4f}, "
        f"n {figures['n']}), calibration error {figures['ece']:.4f}."
    )
    say(f"5. Report: {page.resolve().as_uri()}")
    failures: list[Exception] = []
    pictures = api.held_out(run)[0]

    def ready(serving: Serving) -> None:
        threading.Thread(
            target=_talk, args=(serving.url, pictures, keep_serving, say, failures), daemon=True
        ).start()

    serve([run], Door(port=_free_port(port, say)), store=out / "store", on_ready=ready)
    if failures:
        raise ClearsightError(f"The service did not answer as it should: {failures[0]}")


def _talk(
    url: str,
    pictures: Dataset,
    keep_serving: bool,
    say: Callable[[str], None],
    failures: list[Exception],
) -> None:
    """Ask the service about a few pictures, then stop it or say how to go on."""
    try:
        right, count = 0, min(PICTURES_SENT, len(pictures.samples))
        say(f"6. Service: {url}; {count} pictures sent:")
        for index in range(0, len(pictures.samples), max(1, len(pictures.samples) // count)):
            truth = pictures.label_names(index)[0]
            best = _ask(url, pictures.encoded(index))
            right += best["label"] == truth
            say(f"     truth {truth}: {best['label']} {best['score']:.3f}")
            count -= 1
            if count == 0:
                break
        say(f"   {right} right. Try it: open {url} in a browser, or")
        say(f"     curl --data-binary @picture.png {url}/v1/recognize")
    except (OSError, ValueError, KeyError, ClearsightError) as error:
        failures.append(error)
    if keep_serving and not failures:
        say("   Ctrl-C stops the service.")
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def _ask(url: str, picture: bytes) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/v1/recognize", data=picture, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310
        best: dict[str, Any] = json.load(answer)["predictions"][0]
    return best


def _new_run(out: Path, name: str) -> Path:
    number = 1
    while (out / f"{name}-{number}").exists():
        number += 1
    return out / f"{name}-{number}"


def _free_port(port: int, say: Callable[[str], None]) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            say(f"   Port {port} is taken; using a free one.")
            return 0
    return port
