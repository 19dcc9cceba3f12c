"""What each protocol costs: processor time of the service and latency, one picture a request.

    python benchmarks/serve/protocols.py [--rounds 9] [--requests 200]

One service with a model of a few bytes, so that what is left is the transport, decoding a JPEG of
500 x 375 and the queue. Every way of every protocol takes its turn in every round over one open
connection; ratios are taken inside a round. Takes about a minute; needs grpcio.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import time
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.serve.protocols.oip_grpc import OipGrpc
from clearsight.serve.protocols.oip_rest import OipRest
from clearsight.serve.protocols.rest import Rest
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle

WARMUP = 50
BASE = "/v1 raw"
MOST = {"/v2 raw": 1.25, "/v2 binary": 1.35, "gRPC raw contents": 1.75}


def cpu_ms(pid):
    """Return the milliseconds that all threads of a process have had of the processor."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def ways(encoded):
    """Return every way to send an encoded picture, by protocol and name."""
    found = {}
    for word, protocol in (("/v1", Rest), ("/v2", OipRest), ("gRPC", OipGrpc)):
        for way, exchange in protocol.exchanges(encoded, 5, "colours").items():
            found[f"{word} {way}"] = exchange
    return found


def sender(service):
    """Return what sends one exchange over an open connection."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"))
    channel = grpc.insecure_channel(service.grpc)

    def send(exchange):
        if exchange.content_type == "application/grpc":
            channel.unary_unary(exchange.target)(exchange.body)
            return
        headers = {"content-type": exchange.content_type, **dict(exchange.headers)}
        connection.request(exchange.method, exchange.target, exchange.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body

    return send


def measure(rounds, requests):
    """Return milliseconds of processor and of waiting a request, by way, a value a round."""
    exchanges = ways(picture("JPEG", size=(500, 375)))
    cpu, latency = {way: [] for way in exchanges}, {way: [] for way in exchanges}
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_colour_bundle(Path(folder) / "colours").path
        with running_service([bundle], grpc=True, workers=1) as service:
            send, pid = sender(service), service.process.pid
            for exchange in exchanges.values():
                for _ in range(WARMUP):
                    send(exchange)
            for _ in range(rounds):
                for way, exchange in exchanges.items():
                    before, times = cpu_ms(pid), []
                    for _ in range(requests):
                        started = time.perf_counter()
                        send(exchange)
                        times.append((time.perf_counter() - started) * 1e3)
                    cpu[way].append((cpu_ms(pid) - before) / requests)
                    latency[way].append(statistics.median(times))
    return cpu, latency


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    cpu, latency = measure(options.rounds, options.requests)
    measured, claims = [], []
    for way in cpu:
        measured.append(record.Measurement.of(f"{way}: processor", "ms", cpu[way]))
        measured.append(record.Measurement.of(f"{way}: latency", "ms", latency[way]))
        ratio = statistics.median(a / b for a, b in zip(cpu[way], cpu[BASE], strict=True))
        shown = f"{measured[-2].median:6.3f} ms, latency {measured[-1].median:6.3f} ms"
        print(f"{way:24} {shown}, {ratio:.2f} of {BASE}")
        if way in MOST:
            text = f"{way} takes at most {MOST[way]} times the processor time of {BASE}"
            met = ratio <= MOST[way]
            claims.append(record.Claim(text=text, target=MOST[way], got=round(ratio, 3), met=met))
    record.Record(
        name="serve/protocols",
        command="python benchmarks/serve/protocols.py",
        machine=record.machine(),
        versions=record.versions("uvicorn", "httptools", "uvloop", "grpcio", "protobuf"),
        commit=record.commit(),
        measurements=measured,
        claims=claims,
    ).write(Path(__file__).parent / "results" / "protocols.json")


if __name__ == "__main__":
    main()
