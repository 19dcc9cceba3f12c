"""Overload, a stop and a soak in their short forms, on pictures that take 20 ms each.

The long forms are benchmarks/serve/overload.py, drain.py and soak.py (CHECKS 22, 20, 28).
"""

import asyncio
import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time
from itertools import combinations
from pathlib import Path

import pytest
from flow_support import encode
from PIL import Image

from clearsight.client.errors import UnreachableError
from clearsight.client.load.lines import http_connect
from clearsight.client.load.measure import measure
from clearsight.client.load.plan import LoadPlan
from clearsight.client.load.requests import Ask, http_request, rest_requests
from clearsight.testing.running_service import running_service

SLOW = """
import time
from clearsight.engines.predictor import BundlePredictor
plain = BundlePredictor.prepare
def slow(self, encoded):
    time.sleep(0.02)
    return plain(self, encoded)
BundlePredictor.prepare = slow
"""
ADMIT_ALL = """
from clearsight.serve.fair_queue import FairQueue
FairQueue._admit = lambda *told: None
"""
LEAK = """
kept = []
def leaky(self, encoded):
    kept.append(bytes(200_000))
    return plain(self, encoded)
BundlePredictor.prepare = leaky
"""
DEADLINE_S = 0.3
PICTURE = encode(Image.new("RGB", (40, 30), (200, 30, 40)), "JPEG")


def overload(bundle, before):
    """Three times the capacity for six seconds; return it, what was found, and five s later."""
    ask = Ask(deadline_s=DEADLINE_S)
    with running_service([bundle], before, workers=2) as service:
        closed = LoadPlan(clients=4, time_s=3, warm_up_s=1)
        capacity = measure(service.url, [PICTURE], closed).to_json()["answers_per_s"]

        def load(rate, time_s, warm_up_s):
            plan = LoadPlan(rate=rate, time_s=time_s, warm_up_s=warm_up_s, deadline_s=DEADLINE_S)
            return measure(service.url, [PICTURE], plan, ask=ask).to_json()

        during = load(3 * capacity, 6.0, 2.0)
        return capacity, during, load(capacity / 2, 3.0, 5.0)


@pytest.mark.slow
def test_overload_is_refused_at_once_and_the_rest_answered_in_time(bundle):
    capacity, during, after = overload(bundle, SLOW)
    assert during["answers_per_s"] >= 0.8 * capacity  # other tests run beside this one
    assert during["latency_ms"]["p99"] < 1000 * DEADLINE_S
    assert during["refusal_ms"]["p99"] < 50
    assert during["refused"] > during["answered"]
    assert during["refused_with_retry_after"] == during["refused"]
    assert during["answered"] + during["refused"] == during["sent"]
    assert after["answered"] == after["sent"] > 50
    assert after["latency_ms"]["p99"] < 1000 * DEADLINE_S


@pytest.mark.slow
def test_without_admission_hardly_anything_is_in_time(bundle):
    capacity, during, _ = overload(bundle, SLOW + ADMIT_ALL)
    assert during["answers_per_s"] < 0.6 * capacity
    assert during["refused"] == 0


async def drain(service, in_flight, kill):
    """Return how requests ended whose service was told to stop, and when readiness said so."""
    recognize = http_connect(service.url, rest_requests(service.url, [PICTURE], Ask()), None)
    probes = [http_request(service.url, "/readyz", {}, b"", "GET")]
    lines = [await recognize() for _ in range(in_flight)]
    probe = await http_connect(service.url, probes, None)()

    async def one(line):
        try:
            return (await line.ask(0)).status
        except UnreachableError:
            return "dropped"

    asked = [asyncio.create_task(one(line)) for line in lines]
    await asyncio.sleep(0.3)
    flying = sum(not task.done() for task in asked)
    service.process.send_signal(kill)
    told = time.perf_counter()
    ready = True
    while ready:
        try:
            ready = (await probe.ask(0)).good
        except UnreachableError:
            ready = False
        await asyncio.sleep(0.002)
    return flying, time.perf_counter() - told, await asyncio.gather(*asked)


@pytest.mark.slow
def test_a_stop_drops_none_of_two_hundred(bundle):
    with running_service([bundle], SLOW, workers=2, queue=400) as service:
        flying, late_s, ended = asyncio.run(drain(service, 200, signal.SIGTERM))
        assert service.process.wait(30) == 0
    assert flying > 100
    assert set(ended) == {"200"}
    assert late_s < 0.1


@pytest.mark.slow
def test_a_kill_is_seen_to_drop_them(bundle):
    with running_service([bundle], SLOW, workers=2, queue=400) as service:
        flying, _, ended = asyncio.run(drain(service, 200, signal.SIGKILL))
    assert ended.count("dropped") >= flying > 100


def soak(bundle, before, seconds=24.0):
    """Return slope of the resident memory in MB an hour, and how far threads and files moved."""
    rows = []
    with running_service([bundle], before, workers=2) as service:
        done = threading.Event()

        def watch():
            while not done.wait(0.5):
                status = Path(f"/proc/{service.process.pid}/status").read_text()
                rss_kb, threads = (
                    int(re.search(rf"{key}:\s+(\d+)", status)[1]) for key in ("VmRSS", "Threads")
                )
                files = len(os.listdir(f"/proc/{service.process.pid}/fd"))
                rows.append((time.monotonic(), rss_kb / 1024, threads, files))

        thread = threading.Thread(target=watch)
        thread.start()
        for _ in range(int(seconds / 2)):  # every piece over connections of its own
            measure(service.url, [PICTURE, PICTURE[:200], b"no"], LoadPlan(time_s=2, warm_up_s=0))
        done.set()
        thread.join()
    kept = rows[len(rows) // 2 :]
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(kept, 2))
    return slope * 3600, [max(r[i] for r in kept) - min(r[i] for r in kept) for i in (2, 3)]


@pytest.mark.slow
def test_half_a_minute_leaves_nothing_behind(bundle):
    slope, moved = soak(bundle, "")
    assert slope < 400  # 24 s cannot tell less; the benchmark's hour can
    assert moved[0] <= 5
    assert moved[1] <= 20  # eight clients come and go


@pytest.mark.slow
def test_a_leak_is_seen(bundle):
    slope, _ = soak(bundle, SLOW + LEAK, 12.0)
    assert slope > 4000


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_measures_the_same(bundle, tmp_path):
    """A hundred a second is what two workers of 20 ms can do, whoever asks."""
    picture, script = tmp_path / "a.jpg", tmp_path / "post.lua"
    picture.write_bytes(PICTURE)
    script.write_text(
        f'local f = io.open("{picture}", "rb"); wrk.body = f:read("*a"); f:close()\n'
        'wrk.method = "POST"'
    )
    with running_service([bundle], SLOW, workers=2) as service:
        command = ["wrk", "-t1", "-c8", "-d5s", "-s", str(script), f"{service.url}/v1/recognize"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = measure(service.url, [PICTURE], LoadPlan(time_s=5, warm_up_s=0.5)).to_json()
    theirs = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    assert "Non-2xx" not in said
    assert found["answers_per_s"] == pytest.approx(theirs, rel=0.1)
