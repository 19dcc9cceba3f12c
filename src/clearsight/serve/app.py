"""The ASGI application: every HTTP protocol's routes, health, metrics, OpenAPI, and the page.

It is bare ASGI on purpose: one dictionary look-up stands between the server and a handler.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from pathlib import PurePath

from clearsight.core.errors import ClearsightError, ImageError
from clearsight.serve import log
from clearsight.serve.errors import ClientLeftError, ForbiddenError
from clearsight.serve.http_messages import (
    PROBLEM,
    Buffers,
    Handler,
    Receive,
    Request,
    Response,
    Route,
    Scope,
    Send,
    json_response,
    plain_problem,
)
from clearsight.serve.metrics import CONTENT_TYPE
from clearsight.serve.openapi import openapi
from clearsight.serve.operations.requests import Answered
from clearsight.serve.operations.routes import Operations
from clearsight.serve.protocols import PROTOCOLS, http_protocols
from clearsight.serve.routing import Router
from clearsight.serve.service import Service
from clearsight.serve.status import Status

NOT_FOUND = Status(404, "not-found", "There is nothing at this address")
NOT_ALLOWED = Status(405, "method-not-allowed", "This address does not take this method")
CLIENT_LEFT = 499
OTHER = "other"

PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
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


def build_app(
    service: Service,
    protocols: list[str] | None = None,
    operations: Operations | None = None,
    more: Sequence[Route] = (),
) -> Asgi:
    """Return the ASGI application of a service.

    Args:
        service: what answers.
        protocols: keys of `PROTOCOLS`; all that speak HTTP where None.
        operations: what watches the service; one that keeps nothing where None.
        more: further routes, such as a registry's.

    Returns:
        A callable for any ASGI server; uvicorn in `run.serve`.
    """
    return app_of(service, every_route(service, protocols, operations, more))


def every_route(
    service: Service,
    protocols: list[str] | None = None,
    operations: Operations | None = None,
    more: Sequence[Route] = (),
) -> list[Route]:
    """Return every route: health, figures, the page, the protocols' and `more`."""
    operations = operations or Operations(service)
    routes = [*_health(service), *operations.routes(), *_page(), *more]
    for key in http_protocols() if protocols is None else protocols:
        routes += PROTOCOLS.load(key)(service).routes()
    routes.append(_document(service, routes))
    return routes


def app_of(service: Service, routes: list[Route]) -> Asgi:
    """Return the ASGI application of given routes."""
    metrics, requests = service.metrics, service.requests
    buffers = Buffers(service.limits.buffered_bytes)
    router = Router(routes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        started = time.monotonic()
        request = Request(scope, receive, service.limits, buffers)
        methods, request.path_values = router.find(request.path)
        metrics.in_flight.inc()
        try:
            response = await _answer(service, methods, request)
            if response.status != CLIENT_LEFT:
                await request.swallow()
                await response.send(request, send, close=not service.ready)
        finally:
            request.release()
            metrics.in_flight.dec()
        pattern = next(iter(methods.values())).path if methods else OTHER
        seconds = time.monotonic() - started
        metrics.answered(pattern, response.status, seconds)
        if requests.sinks:
            requests.answered(_answered(request, pattern, response.status, seconds))

    return app


async def _answer(service: Service, methods: dict[str, Route], request: Request) -> Response:
    try:
        if not methods:
            detail = "Look at / for the page and at /openapi.json for what is here."
            return _plain(request, NOT_FOUND, detail)
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is not None:
            if route.scope != "public":
                request.caller = service.access.caller(request.token(), request.address)
                request.caller.require(route.scope)
            return await route.handler(request)
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
        return _refusal(service, methods, request, error)
    except Exception as error:  # noqa: BLE001 - the last line: the client gets a 500, the log the cause
        log.failure("request failed", error, request=request.id)
        return _refusal(service, methods, request, error)


def _refusal(
    service: Service, methods: dict[str, Route], request: Request, error: Exception
) -> Response:
    """Answer an error the way its route's protocol does."""
    service.metrics.refused(error)
    route = next(iter(methods.values()))
    return route.refuse(request.id, error)


def _answered(request: Request, pattern: str, status: int, seconds: float) -> Answered:
    return Answered(
        request.id,
        request.method,
        pattern,
        status,
        time.time() - seconds,
        seconds,
        request.caller.id,
        request.header(b"traceparent"),
        request.header(b"tracestate"),
    )


def _plain(request: Request, status: Status, detail: str) -> Response:
    if f"{request.path}/".startswith("/v2/"):
        return json_response({"error": detail}, status.http)
    body = plain_problem(request.id, status, detail)
    return json_response(body, status.http, PROBLEM)


def _health(service: Service) -> list[Route]:
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
        if request.caller.tenant:
            raise ForbiddenError(
                "These figures are about every tenant's models. A tenant's key sees /v1/stats."
            )
        text = await asyncio.to_thread(service.metrics.text)  # many lines with many models
        return Response(200, text, CONTENT_TYPE)

    return [
        Route("GET", "/livez", livez, "public"),
        Route("GET", "/readyz", readyz, "public"),
        Route("GET", "/metrics", metrics, "metrics"),
    ]


def _document(service: Service, routes: list[Route]) -> Route:
    async def openapi_json(request: Request) -> Response:
        request.options()
        return json_response(openapi(service, routes))

    return Route("GET", "/openapi.json", openapi_json, "public")


def _page() -> list[Route]:
    folder = resources.files("clearsight.serve") / "page"

    def file_handler(name: str, content_type: str) -> Handler:
        content = (folder / name).read_bytes()

        async def page_file(request: Request) -> Response:
            return Response(200, content, content_type, list(PAGE_HEADERS))

        return page_file

    routes = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        kind = PAGE_TYPES.get(PurePath(file.name).suffix)
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            routes.append(Route("GET", path, file_handler(file.name, kind), "public"))
    return routes


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
