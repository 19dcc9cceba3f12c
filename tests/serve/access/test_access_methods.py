"""Check 31 for gRPC: every method of every protocol tried with every kind of wrong key."""

import asyncio
import time

import pytest

pytest.importorskip("grpc_health", reason="pip install 'clearsight[grpc]'")
pytest.importorskip("grpc_reflection", reason="pip install 'clearsight[grpc]'")

import grpc
from house import LABEL, MODEL, OWNER, WRONG

from clearsight.serve.access.caller import Everybody
from clearsight.serve.access.rates import WrongKeys
from clearsight.serve.grpc_server import start_grpc
from clearsight.serve.oip.messages import message_class
from clearsight.serve.protocols import PROTOCOLS, grpc_protocols

PUBLIC = {"ServerLive", "ServerReady", "ServerMetadata"}


def methods(service):
    """Every method of every gRPC protocol."""
    return [m for key in grpc_protocols() for m in PROTOCOLS.load(key)(service).methods()]


def answers(house, kind, way="authorization"):
    """Return the code, detail and body of every method for one kind of key."""

    async def ask(channel, method):
        kind_of = f"without {method.scope}" if kind == "without" else kind
        token = house.tokens.get(kind_of)
        shown = f"Bearer {token}" if way == "authorization" else token
        name = method.path.rsplit("/", 1)[1]
        fields = message_class(f"{name}Request").DESCRIPTOR.fields_by_name
        told = {field: MODEL for field in ("model_name", "name") if field in fields}
        message = message_class(f"{name}Request")(**told).SerializeToString()
        call = channel.unary_unary(method.path)
        try:
            metadata = ((way, shown),) if token else ()
            return name, "OK", "", await call(message, timeout=10, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return name, error.code().name, error.details(), b""

    async def all_of_them():
        server = await start_grpc(house.service, port=0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                return [await ask(channel, method) for method in methods(house.service)]
        finally:
            await server.stop(0)

    return asyncio.run(all_of_them())


def test_no_method_opens_to_a_wrong_key(house, monkeypatch):
    monkeypatch.setattr(house.service.access._access, "_wrong", WrongKeys(time.time, burst=1e9))
    told = {}
    for kind in WRONG:
        for name, code, detail, _ in answers(house, kind):
            assert code == ("OK" if name in PUBLIC else "UNAUTHENTICATED"), (kind, name)
            told.setdefault(name, set()).add(detail)
    assert len(told) > 10
    assert all(len(details) == 1 for details in told.values())


def test_scopes_and_tenants(house):
    for name, code, *_ in answers(house, "without", "x-api-key"):
        assert code == ("OK" if name in PUBLIC else "PERMISSION_DENIED"), name
    for name, code, detail, body in answers(house, "stranger"):
        if name == "ModelInfer":  # the empty message is refused before the model is looked for
            assert code == "INVALID_ARGUMENT"
        elif name.startswith(("Model", "RepositoryModel")):
            assert code == "NOT_FOUND", name
        told = detail.replace(f"No model '{MODEL}' is served here.", "").encode() + body
        assert not any(secret.encode() in told for secret in (MODEL, LABEL, OWNER)), name
    for name, code, *_ in answers(house, "good"):
        assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"), name


def test_a_server_that_asks_nobody_would_be_found(house):
    house.service.access = Everybody()
    codes = {name: code for name, code, *_ in answers(house, "none")}
    assert [name for name, code in codes.items() if code == "UNAUTHENTICATED"] == []
