"""The Open Inference Protocol over gRPC, on the loopback."""

import asyncio
import gzip
import subprocess

import pytest

pytest.importorskip("grpc_health", reason="pip install 'clearsight[grpc]'")
pytest.importorskip("grpc_reflection", reason="pip install 'clearsight[grpc]'")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clearsight.core.errors import MissingExtraError
from clearsight.serve import grpc_calls, grpc_server
from clearsight.serve.access.tls import Tls
from clearsight.serve.errors import StartError
from clearsight.serve.grpc_calls import GrpcServer
from clearsight.serve.grpc_messages import Method
from clearsight.serve.grpc_server import start_grpc
from clearsight.serve.oip.messages import METHODS, message_class
from clearsight.serve.oip.tensors import join_elements
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.serve.status import GRPC, IMAGE_STATUSES, STATUSES, UNEXPECTED
from clearsight.testing.protocol_contract import Locked, WatchedPredictor, picture

RED, GREEN = picture("PNG", (200, 20, 20)), picture("JPEG", (20, 200, 20))
PREFIX = "/inference.GRPCInferenceService/"


class Client:
    """Calls methods by name, messages as keyword arguments."""

    def __init__(self, channel, service):
        self.channel, self.service = channel, service
        self.metadata: tuple[tuple[str, str], ...] = ()

    async def call(self, method, message=None, timeout=5, metadata=(), **fields):
        request = message_class(f"{method}Request")(**fields) if message is None else message
        content = request if isinstance(request, bytes) else request.SerializeToString()
        multi = self.channel.unary_unary(PREFIX + method)
        told = self.metadata + tuple(metadata)
        reply = await multi(content, timeout=timeout, metadata=told)
        return message_class(f"{method}Response").FromString(reply)

    async def code(self, *arguments, **fields):
        try:
            await self.call(*arguments, **fields)
        except grpc.aio.AioRpcError as error:
            return error.code().name if error.details() else "no detail"
        return "OK"


def run(scenario, **limits):
    """Run a coroutine with a Client of a fresh service."""

    async def started():
        models = [Model("watched", "7", WatchedPredictor())]
        service = Service(models, ServiceLimits(**{"workers": 1, "pictures": 4, **limits}))
        server = await start_grpc(service, port=0)
        address = f"127.0.0.1:{server.port}"
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                await scenario(Client(channel, service))
        finally:
            await server.stop(0)
            service.models.versions("watched")["7"].predictor.go.set()
            await asyncio.to_thread(service.close)

    asyncio.run(started())


def image(*pictures, raw=True, **more):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(pictures)]}
    if not raw:
        return {"inputs": [{**tensor, "contents": {"bytes_contents": pictures}}], **more}
    return {"inputs": [tensor], "raw_input_contents": [join_elements(pictures)], **more}


def test_metadata_and_health():
    async def scenario(client):
        assert (await client.call("ServerLive")).live
        assert (await client.call("ServerReady")).ready
        assert (await client.call("ServerMetadata")).name == "clearsight"
        assert (await client.call("ModelReady", name="watched", version="7")).ready
        model = await client.call("ModelMetadata", name="watched")
        assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [
            ("image", "BYTES", [-1]),
            ("pixels", "UINT8", [-1, -1, -1, 3]),
        ]
        config = (await client.call("ModelConfig", name="watched")).config
        assert [one.name for one in config.output] == ["label", "score", "accepted", "set"]
        client.service.ready = False
        assert not (await client.call("ServerReady")).ready
        assert not (await client.call("ModelReady", name="watched")).ready

    run(scenario)


def test_raw_is_answered_raw_and_typed_typed():
    async def scenario(client):
        for raw in (True, False):
            answer = await client.call(
                "ModelInfer", model_name="watched", id="猫", **image(RED, GREEN, raw=raw)
            )
            assert (answer.model_name, answer.model_version, answer.id) == ("watched", "7", "猫")
            assert bool(answer.raw_output_contents) == raw
            assert [list(one.shape) for one in answer.outputs] == [[2, 4], [2, 4], [2], [2]]
            if not raw:
                labels = answer.outputs[0].contents.bytes_contents
                assert [labels[0], labels[4]] == [b"red", b"green"]
        outputs = [{"name": "score"}]
        answer = await client.call(
            "ModelInfer", model_name="watched", outputs=outputs, **image(RED, raw=False)
        )
        assert [one.name for one in answer.outputs] == ["score"]

    run(scenario)


def test_statistics():
    async def scenario(client):
        await client.call("ModelInfer", model_name="watched", **image(RED, GREEN))
        told = (await client.call("ModelStatistics", name="watched")).model_stats[0]
        assert told.inference_count == told.inference_stats.success.count == 2
        assert told.batch_stats[0].batch_size == 1
        assert len((await client.call("ModelStatistics")).model_stats) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("NOT_FOUND", {**image(RED), "model_name": "nobody"}),
        ("NOT_FOUND", {**image(RED), "model_name": ""}),
        ("NOT_FOUND", {**image(RED), "model_version": "8"}),
        ("INVALID_ARGUMENT", {}),
        ("INVALID_ARGUMENT", {"inputs": [{"name": "image"}] * 100}),
        ("INVALID_ARGUMENT", image(RED, id="x" * 300)),
        ("INVALID_ARGUMENT", image(RED, parameters={"tpo": {"int64_param": 1}})),
        ("INVALID_ARGUMENT", image(RED, parameters={"top": {"string_param": "1"}})),
        ("INVALID_ARGUMENT", image(RED, parameters={"top": {}})),
        ("INVALID_ARGUMENT", image(RED, parameters={"top": {"int64_param": 0}})),
        ("INVALID_ARGUMENT", image(RED, outputs=[{"name": "rank"}])),
        ("INVALID_ARGUMENT", image(RED, raw_input_contents=[b"", b""])),
        ("INVALID_ARGUMENT", image(RED, raw_input_contents=[b"\xff\xff\xff\xffa"])),
        ("INVALID_ARGUMENT", {**image(RED), **image(RED, raw=False), "raw_input_contents": [RED]}),
        ("INVALID_ARGUMENT", {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}]}),
        (
            "INVALID_ARGUMENT",
            {
                "inputs": [
                    {
                        "name": "image",
                        "datatype": "BYTES",
                        "shape": [1],
                        "contents": {"int_contents": [1]},
                    }
                ]
            },
        ),
        (
            "INVALID_ARGUMENT",
            {
                "inputs": [
                    {
                        "name": "pixels",
                        "datatype": "UINT8",
                        "shape": [1, 1, 1, 3],
                        "contents": {"uint_contents": [1, 2, 256]},
                    }
                ]
            },
        ),
        ("INVALID_ARGUMENT", image(b"no picture")),
        ("INVALID_ARGUMENT", image(RED, b"")),
    ],
)
def test_calls_that_are_refused(code, fields):
    async def scenario(client):
        request = {"model_name": "watched", **fields}
        assert await client.code("ModelInfer", **request) == code

    run(scenario)


@pytest.mark.parametrize(
    "message", [b"\xff" * 10, b"\x2a\x00" * 1_000_000, b"\x3a\x00" * 1_000_000, b"\x2a\xff\xff\xff"]
)
def test_hostile_messages_are_refused(message):
    async def scenario(client):
        assert await client.code("ModelInfer", message) in (
            "INVALID_ARGUMENT",
            "RESOURCE_EXHAUSTED",
        )
        assert await client.code("ServerLive", message) in (
            "INVALID_ARGUMENT",
            "RESOURCE_EXHAUSTED",
        )
        assert (await client.call("ServerLive")).live

    run(scenario)


def test_a_message_beyond_the_limit_is_refused_packed_or_not():
    async def scenario(client):
        await exceeds(client, grpc.Compression.NoCompression)
        await exceeds(client, grpc.Compression.Gzip)

    async def exceeds(client, compression):
        multi = client.channel.unary_unary(PREFIX + "ModelInfer")
        message = message_class("ModelInferRequest")(raw_input_contents=[bytes(5_000_000)])
        content = message.SerializeToString()
        assert len(gzip.compress(content)) < 100_000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await multi(content, compression=compression, timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await client.call("ServerLive")).live

    run(scenario, body_bytes=1_000_000)


def test_unknown_methods():
    async def scenario(client):
        multi = client.channel.unary_unary(PREFIX + "SystemSharedMemoryRegister")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await multi(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    run(scenario)


def test_a_slow_or_silent_client_is_cut_off():
    async def scenario(client):
        call = client.channel.stream_unary(PREFIX + "ModelInfer")(timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "message" in caught.value.details()
        assert (await client.call("ServerLive")).live

    run(scenario, body_s=0.2)


def test_a_silent_crowd_does_not_stop_the_others():
    async def scenario(client):
        opened = client.channel.stream_unary(PREFIX + "ModelInfer")
        silent = [asyncio.ensure_future(opened(timeout=10)) for _ in range(200)]
        await asyncio.sleep(0.1)
        for _ in range(20):
            await client.call("ModelInfer", model_name="watched", **image(RED))
        for call in silent:
            call.cancel()
        await asyncio.gather(*silent, return_exceptions=True)

    run(scenario)


def test_calls_beyond_the_bound_are_refused(monkeypatch):
    monkeypatch.setattr(grpc_calls, "MOST_CALLS", 2)

    async def scenario(client):
        opened = client.channel.stream_unary(PREFIX + "ModelInfer")
        silent = [asyncio.ensure_future(opened(timeout=10)) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert await client.code("ModelInfer", model_name="watched", **image(RED)) == "UNAVAILABLE"
        for call in silent:
            call.cancel()
        await asyncio.gather(*silent, return_exceptions=True)

    run(scenario)


@pytest.mark.parametrize("missing", ["grpc", "grpc_health", "grpc_reflection", "google.protobuf"])
def test_a_missing_library_says_what_to_install(monkeypatch, missing):
    found = grpc_server.find_spec
    monkeypatch.setattr(
        grpc_server, "find_spec", lambda name: None if name == missing else found(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'clearsight\[grpc\]'"):
        grpc_server.require_grpc()


def test_the_clients_deadline_is_kept():
    async def scenario(client):
        predictor = client.service.models.versions("watched")["7"].predictor
        predictor.go.clear()
        call = client.call("ModelInfer", model_name="watched", **image(RED))
        first = asyncio.create_task(call)
        assert await asyncio.to_thread(predictor.started.wait, 5)
        late = {"model_name": "watched", "timeout": 0.2, **image(RED)}
        assert await client.code("ModelInfer", **late) in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
        for _ in range(100):
            if not client.service.queue.waiting():
                break
            await asyncio.sleep(0.01)
        predictor.go.set()
        await first
        assert predictor.calls == 1

    run(scenario)


def test_priority_and_timeout_reach_the_service():
    async def scenario(client):
        seen, submit = [], client.service.submit

        def watched(call):
            seen.append(call)
            return submit(call)

        client.service.submit = watched
        parameters = {
            "priority": {"uint64_param": 2},
            "timeout": {"int64_param": 2_000_000},
            "top": {"int64_param": 3},
        }
        fields = {"model_name": "watched", "parameters": parameters, **image(RED)}
        await client.call("ModelInfer", **fields)
        assert (seen[0].priority, seen[0].top) == ("batch", 3)
        assert seen[0].deadline_s <= 2.0

    run(scenario)


def test_keys_are_metadata_and_every_method_has_a_scope():
    async def scenario(client):
        client.service.access = Locked()
        public = {"ServerLive", "ServerReady", "ServerMetadata"}
        for method in METHODS:
            expected = "OK" if method in public else "UNAUTHENTICATED"
            assert await client.code(method) == expected, method
            wrong = (("x-api-key", "explain"),)
            expected = "OK" if method in public else "PERMISSION_DENIED"
            assert await client.code(method, metadata=wrong) == expected, method
        for key in (("authorization", "Bearer admin"), ("x-api-key", "admin")):
            rows = (await client.call("RepositoryIndex", metadata=(key,))).models
            assert [(row.name, row.version, row.state) for row in rows] == [
                ("watched", "7", "READY")
            ]
            for verb in ("Load", "Unload"):
                method = f"RepositoryModel{verb}"
                await client.call(method, model_name="watched", metadata=(key,))
                nobody = {"model_name": "nobody", "metadata": (key,)}
                assert await client.code(method, **nobody) == "NOT_FOUND"
                other = {"model_name": "watched", "repository_name": "s3", "metadata": (key,)}
                assert await client.code(method, **other) == "INVALID_ARGUMENT"
            config = {"parameters": {"config": {"string_param": "{}"}}, "model_name": "watched"}
            refused = await client.code("RepositoryModelLoad", metadata=(key,), **config)
            assert refused == "INVALID_ARGUMENT"

    run(scenario)


def test_administration_is_off_without_keys():
    async def scenario(client):
        for method in ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"):
            assert await client.code(method) == "PERMISSION_DENIED"

    run(scenario)


def test_a_method_without_a_scope_cannot_be_made():
    async def handler(request):
        return b""

    with pytest.raises(Exception, match="scope"):
        Method("/a.B/C", handler, None)


def test_the_request_id_comes_back():
    async def scenario(client):
        multi = client.channel.unary_unary(PREFIX + "ServerLive")
        call = multi(b"", metadata=(("x-request-id", "mine"),), timeout=5)
        await call
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine"

    run(scenario)


def test_health_follows_readiness():
    async def scenario(client):
        stub = health_pb2_grpc.HealthStub(client.channel)
        serving, not_serving = 1, 2
        for name in ("", "inference.GRPCInferenceService"):
            request = health_pb2.HealthCheckRequest(service=name)
            assert (await stub.Check(request, timeout=5)).status == serving
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        seen = []
        async for told in stub.Watch(health_pb2.HealthCheckRequest(), timeout=5):
            seen.append(told.status)
            client.service.ready = False
        assert seen == [serving, not_serving]
        assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == not_serving

    run(scenario)


def test_watchers_are_bounded(monkeypatch):
    monkeypatch.setattr(grpc_calls, "MOST_WATCHERS", 2)

    async def scenario(client):
        stub = health_pb2_grpc.HealthStub(client.channel)
        watchers = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=5) for _ in range(2)]
        for watcher in watchers:
            await watcher.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest(), timeout=5).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for watcher in watchers:
            watcher.cancel()

    run(scenario)


def test_reflection_lists_and_describes_the_service():
    async def scenario(client):
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        ask = reflection_pb2.ServerReflectionRequest

        async def questions():
            yield ask(list_services="")
            yield ask(file_containing_symbol="inference.GRPCInferenceService")
            yield ask(file_containing_symbol="grpc.health.v1.Health")

        answers = [told async for told in stub.ServerReflectionInfo(questions(), timeout=5)]
        names = {service.name for service in answers[0].list_services_response.service}
        assert names >= {"inference.GRPCInferenceService", "grpc.health.v1.Health"}
        for answer in answers[1:]:
            assert answer.file_descriptor_response.file_descriptor_proto

    run(scenario)


def test_a_stop_lets_calls_in_flight_finish():
    async def scenario():
        predictor = WatchedPredictor()
        service = Service([Model("watched", "7", predictor)], ServiceLimits(workers=1))
        server = await start_grpc(service, port=0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            client = Client(channel, service)
            predictor.go.clear()
            call = client.call("ModelInfer", model_name="watched", **image(RED))
            flying = asyncio.create_task(call)
            assert await asyncio.to_thread(predictor.started.wait, 5)
            stopping = asyncio.create_task(server.stop(5))
            await asyncio.sleep(0.1)
            assert not stopping.done()
            predictor.go.set()
            assert (await flying).model_name == "watched"
            await asyncio.wait_for(stopping, 2)
        await asyncio.to_thread(service.close)

    asyncio.run(scenario())


def test_a_taken_port_is_told_with_a_free_one():
    async def scenario(client):
        other = await start_grpc(client.service, port=0)
        with pytest.raises(StartError, match="--grpc-port"):
            await start_grpc(client.service, port=other.port)
        with pytest.raises(StartError):
            GrpcServer(client.service, "127.0.0.1", other.port)
        await other.stop(0)

    run(scenario)


def test_tls_and_a_client_that_trusts_it(tmp_path):
    tls = Tls(tmp_path / "cert.pem", tmp_path / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", tls.key, "-out", tls.certificate, "-days", "2"),
            *("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )

    async def scenario(client):
        server = await start_grpc(client.service, port=0, tls=tls)
        address = f"127.0.0.1:{server.port}"
        trusting = grpc.ssl_channel_credentials(tls.certificate.read_bytes())
        async with grpc.aio.secure_channel(address, trusting) as channel:
            assert (await Client(channel, client.service).call("ServerLive")).live
        async with grpc.aio.insecure_channel(address) as channel:
            plain = Client(channel, client.service)
            assert await plain.code("ServerLive", timeout=1) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
        await server.stop(0)

    run(scenario)


def test_every_status_of_the_table_has_a_grpc_code():
    for status in [*STATUSES.values(), *IMAGE_STATUSES.values(), UNEXPECTED]:
        assert grpc.StatusCode[status.grpc]
    assert set(GRPC) == {s.http for s in [*STATUSES.values(), *IMAGE_STATUSES.values()]}
