"""One call from a service's address to a result."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clearsight.client.address import checked_key, checked_url, tls_context
from clearsight.client.client import Client
from clearsight.client.errors import CallError
from clearsight.client.load.drive import Drive, run_loop
from clearsight.client.load.lines import Connect, grpc_connect, http_connect
from clearsight.client.load.plan import PROTOCOLS, LoadPlan
from clearsight.client.load.requests import (
    Ask,
    grpc_messages,
    oip_rest_requests,
    rest_requests,
)
from clearsight.client.load.result import LoadResult
from clearsight.core.errors import UsageError, nearest
from clearsight.core.progress import Progress


def measure(
    url: str,
    pictures: Sequence[bytes],
    plan: LoadPlan,
    protocol: str = "rest",
    ask: Ask | None = None,
    ca: Path | None = None,
    progress: Progress | None = None,
) -> LoadResult:
    """Put a service under load and return what came back, how fast and how often.

    Args:
        url: where the service is; for gRPC, its gRPC port with http:// (or https:// with TLS).
        pictures: encoded; sent in turn.
        plan: closed or open loop, how long.
        protocol: "rest", "oip-rest" or "oip-grpc".
        ask: model, labels, deadline, priority, key.
        ca: file of certificate authorities to trust in place of the system's.
        progress: told how it goes.

    Raises:
        UsageError: an unknown protocol or an address that cannot be used.
        CallError: the model's name was to be asked for, and there was no answer.

    Example:
        >>> plan = LoadPlan(rate=50.0, time_s=10)
        >>> result = measure("http://127.0.0.1:8000", [jpeg], plan)  # doctest: +SKIP
        >>> result.to_json()["latency_ms"]["p99"]                    # doctest: +SKIP
        31.5
    """
    ask = ask or Ask()
    if protocol not in PROTOCOLS:
        raise UsageError(f"Unknown protocol {protocol!r}.{nearest(protocol, PROTOCOLS)}")
    url = checked_url(url, encrypted=checked_key(ask.key) is not None)
    context = tls_context(url, ca)
    closers: list[Callable[[], Any]] = []
    if protocol == "oip-grpc":
        if urlsplit(url).port is None:
            raise UsageError("Give the gRPC port: http://127.0.0.1:8001, for example.")
        messages = grpc_messages(pictures, ask)
        trusted = None if ca is None else ca.read_bytes()
        connect = grpc_connect(url, messages, ask.headers(), trusted, closers)
    elif protocol == "oip-rest":
        connect = http_connect(url, oip_rest_requests(url, pictures, ask), context)
    else:
        connect = http_connect(url, rest_requests(url, pictures, ask), context)
    about = {"url": url, "protocol": protocol, "model": ask.model, "pictures": len(pictures)}
    return measure_lines(connect, plan, about, progress, closers)


def measure_requests(
    url: str,
    requests: Sequence[bytes],
    plan: LoadPlan,
    progress: Progress | None = None,
) -> LoadResult:
    """Put any HTTP service under load with requests of one's own; see `requests.http_request`."""
    connect = http_connect(url, requests, tls_context(url, None))
    about = {"url": url, "protocol": "http", "model": "", "pictures": len(requests)}
    return measure_lines(connect, plan, about, progress, [])


def measure_lines(
    connect: Connect,
    plan: LoadPlan,
    about: dict[str, Any],
    progress: Progress | None,
    closers: Sequence[Callable[[], Any]],
) -> LoadResult:
    """Run a plan on connections that `connect` opens."""
    _allow_many_connections()

    async def run() -> LoadResult:
        drive = Drive(plan, connect, progress)
        try:
            record = await drive.run()
        finally:
            for close in closers:
                closing = close()
                if inspect.isawaitable(closing):
                    await asyncio.wait_for(closing, 5)
        return LoadResult(plan, record, about, drive.interrupted)

    result: LoadResult = run_loop(run())
    return result


def _allow_many_connections() -> None:
    """Use as many descriptors as the system lets this process have; some begin with 256."""
    try:
        import resource
    except ModuleNotFoundError:  # there is no such limit on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def only_model(url: str, ask: Ask, ca: Path | None = None) -> str:
    """Return the name of the one model that a service has.

    Raises:
        UsageError: it has several, or does not say.
    """
    with Client(url, key=ask.key, ca=ca, deadline_s=10, attempts=1) as client:
        try:
            names = [item.name for item in client.models()]
        except CallError as error:
            raise UsageError(
                f"The service at {url} does not say which models it has ({error}) "
                "Give the model's name with --model."
            ) from error
    if len(names) != 1:
        raise UsageError(
            f"The service has {len(names)} models. Say which one with --model.{nearest('', names)}"
        )
    return names[0]
