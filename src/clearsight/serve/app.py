"""The ASGI application: every HTTP protocol's routes, health, metrics, OpenAPI, and the page.

It is bare ASGI on purpose: one dictionary look-up stands between the server and a handler.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from importlib import resources

from clearsight.core.errors import ClearsightError, ImageError
from clearsight.serve import log
from clearsight.serve.errors import ClientLeftError
from clearsight.serve.http_messages import (
    JSON,
    PROBLEM,
    Buffers,
    Handler,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    json_response,
    plain_problem,
    problem_response,
)
from clearsight.serve.metrics import CONTENT_TYPE
from clearsight.serve.openapi import openapi
from clearsight.serve.protocols import PROTOCOLS
from clearsight.serve.service import Service
from clearsight.serve.status import Status

NOT_FOUND = Status(404, "not-found", "There is nothing at this address")
NOT_ALLOWED = Status(405, "method-not-allowed", "This address does not take this method")
CLIENT_LEFT = 499

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PAGE_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def build_app(service: Service, protocols: list[str] | None = None) -> Asgi:
    """Return the ASGI application of a service.

    Args:
        service: what answers.
        protocols: keys of `PROTOCOLS`; all of them where None.

    Returns:
        A callable for any ASGI server; uvicorn in `run.serve`.
    """
    routes = _operations(service) | _page()
    for key in PROTOCOLS.keys() if protocols is None else protocols:
        routes |= PROTOCOLS.load(key)(service).routes()
    return app_of(service, routes)


def app_of(service: Service, routes: dict[str, dict[str, Handler]]) -> Asgi:
    """Return the ASGI application of given routes; every error becomes problem+json."""
    metrics = service.metrics
    buffers = Buffers(service.limits.buffered_bytes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        started = time.monotonic()
        request = Request(scope, receive, service.limits, buffers)
        metrics.in_flight.inc()
        try:
            response = await _answer(routes, request)
            if response.status != CLIENT_LEFT:
                await request.swallow()
                await response.send(request, send, close=not service.ready)
        finally:
            request.release()
            metrics.in_flight.dec()
        route = request.path if request.path in routes else "other"
        metrics.requests.labels(route, str(response.status)).inc()
        if request.method == "POST":
            metrics.request_seconds.observe(time.monotonic() - started)

    return app


async def _answer(routes: dict[str, dict[str, Handler]], request: Request) -> Response:
    try:
        methods = routes.get(request.path)
        if methods is None:
            detail = "Look at / for the page and at /openapi.json for what is here."
            return _plain(request, NOT_FOUND, detail)
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is not None:
            return await handler(request)
        allow = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))
        if request.method == "OPTIONS":
            response = Response(204)
        else:
            response = _plain(request, NOT_ALLOWED, f"Allowed here: {allow}.")
        response.headers.append((b"allow", allow.encode("ascii")))
        return response
    except ClientLeftError:
        return Response(CLIENT_LEFT)
    except (ClearsightError, ImageError) as error:
        return problem_response(request.id, error)
    except Exception as error:  # noqa: BLE001 - the last line: the client gets a 500, the log the cause
        log.failure("request failed", error, request=request.id)
        return problem_response(request.id, error)


def _plain(request: Request, status: Status, detail: str) -> Response:
    body = plain_problem(request.id, status, detail)
    return json_response(body, status.http, PROBLEM)


def _operations(service: Service) -> dict[str, dict[str, Handler]]:
    document = json_response(openapi(service)).body

    async def livez(request: Request) -> Response:
        request.options()
        return json_response({"status": "live"})

    async def readyz(request: Request) -> Response:
        request.options()
        if service.ready:
            return json_response({"status": "ready"})
        return json_response({"status": "stopping"}, 503)

    async def metrics(request: Request) -> Response:
        request.options()
        return Response(200, service.metrics.text(), CONTENT_TYPE)

    async def openapi_json(request: Request) -> Response:
        request.options()
        return Response(200, document, JSON)

    return {
        "/livez": {"GET": livez},
        "/readyz": {"GET": readyz},
        "/metrics": {"GET": metrics},
        "/openapi.json": {"GET": openapi_json},
    }


def _page() -> dict[str, dict[str, Handler]]:
    folder = resources.files("clearsight.serve") / "page"

    def file_handler(name: str, content_type: str) -> Handler:
        content = (folder / name).read_bytes()

        async def page_file(request: Request) -> Response:
            return Response(200, content, content_type, list(PAGE_HEADERS))

        return page_file

    return {path: {"GET": file_handler(*file)} for path, file in PAGE.items()}


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
