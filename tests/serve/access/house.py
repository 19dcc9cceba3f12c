"""A service as `serve` composes it, with one model of one tenant, and every kind of key."""

import asyncio
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass

from clearsight.serve.access.caller import SCOPES
from clearsight.serve.access.clock import Clock
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.access.tokens import new_token
from clearsight.serve.app import app_of, every_route
from clearsight.serve.http_messages import Route
from clearsight.serve.operations.routes import Operations
from clearsight.serve.run import _registry_routes, open_service
from clearsight.serve.service import Service
from clearsight.serve.state import open_state
from clearsight.serve.store.place import store_folder
from clearsight.testing.tiny_bundle import write_colour_bundle

MODEL, OWNER, STRANGER, LABEL = "model-of-acme", "acme", "globex", "label-of-acme"
WRONG = ("none", "malformed", "mistyped", "unknown", "expired", "revoked")
BODIES = {  # of routes that read their body before they look for the model
    "promote": b'{"version": 1, "why": "a test"}',
    "canary": b'{"version": 1, "share": 0.1, "why": "a test"}',
    "shadow": b'{"version": 1, "why": "a test"}',
    "stop": b'{"alias": "canary", "why": "a test"}',
    "rollback": b'{"why": "a test"}',
}


@dataclass
class House:
    """A service, its routes, and a key of every kind by name."""

    service: Service
    routes: list[Route]
    tokens: dict[str, str | None]
    tried: int = 0

    def app(self):
        return app_of(self.service, self.routes)

    def ask(self, app, method, path, token):
        """Send one request, most without a body, from an address of its own."""
        self.tried += 1
        address = f"10.{self.tried >> 16 & 255}.{self.tried >> 8 & 255}.{self.tried & 255}"
        values = {"model": MODEL, "name": MODEL, "version": "1"}
        target = re.sub(r"\{(\w+)\}", lambda part: values[part[1]], path)
        body = BODIES.get(path.rpartition("/")[2], b"")
        headers = [
            (b"x-request-id", b"same"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        return asyncio.run(talk(app, method, target, headers, address, body))

    def protected(self):
        """Every method and route that needs a key."""
        for route in self.routes:
            if route.scope != "public":
                for method in (route.method, "HEAD") if route.method == "GET" else (route.method,):
                    yield method, route


@dataclass
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def talk(app, method, path, headers, address, body):
    """Send one request to an ASGI application."""
    answer = Answer(0, {}, b"")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": f"model={MODEL}".encode() if path == "/v1/recognize" else b"",
        "headers": headers,
        "client": (address, 4242),
    }
    events = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if events:
            return events.pop()
        await asyncio.sleep(3600)

    async def send(event):
        if event["type"] == "http.response.start":
            answer.status, answer.headers = event["status"], dict(event["headers"])
        answer.body += event.get("body", b"")

    await asyncio.wait_for(app(scope, receive, send), 20)
    return answer


@contextmanager
def built(folder):
    """Yield a House in a folder."""
    state = open_state(store_folder(folder / "store"))
    bundle = write_colour_bundle(folder / "colours", (LABEL, "green", "blue")).path
    number = state.registry.add(MODEL, bundle, who="test", tenant=OWNER).record.version
    state.registry.promote(MODEL, number, who="test", why="first")
    tokens = every_key(KeyStore(state.database), state.database)
    state.access._access.refresh()
    service = open_service([], state=state)
    operations = Operations(service, state.folder)
    try:
        routes = every_route(service, None, operations, _registry_routes(state, service))
        yield House(service, routes, tokens)
    finally:
        operations.close()
        service.close()
        state.close()


def every_key(store, database):
    """Make keys of every kind; return them by name."""
    long_ago = time.time() - 1000
    past = KeyStore(database, Clock(lambda: long_ago, lambda: 0.0))
    expired = past.create("expired", SCOPES, OWNER, None, long_ago + 500).token
    revoked = store.create("revoked", SCOPES, OWNER).token
    store.revoke("revoked")
    good = store.create("good", SCOPES, OWNER).token
    tokens = {
        "none": None,
        "malformed": "let-me-in",
        "mistyped": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "unknown": new_token()[1],
        "expired": expired,
        "revoked": revoked,
        "good": good,
        "stranger": store.create("stranger", SCOPES, STRANGER).token,
        "operator": store.create("operator", SCOPES).token,
    }
    for scope in SCOPES:
        name, others = f"without {scope}", [other for other in SCOPES if other != scope]
        tokens[name] = store.create(name, others, OWNER).token
    return tokens
