"""The OpenAPI document is what the service does."""

import re

import pytest

from clearsight.serve.app import every_route
from clearsight.serve.openapi import UNDOCUMENTED, openapi
from clearsight.serve.operations.routes import Operations
from clearsight.serve.registry.routes import RegistryRoutes
from clearsight.serve.service import Model, Service, ServiceLimits
from clearsight.serve.status import IMAGE_STATUSES, STATUSES
from clearsight.testing.protocol_contract import Locked, WatchedPredictor


@pytest.fixture(scope="module")
def service():
    service = Service([Model("watched", "7", WatchedPredictor())], ServiceLimits(workers=1))
    yield service
    service.close()


@pytest.fixture
def routes(service, tmp_path):
    operations = Operations(service, tmp_path)
    registry = RegistryRoutes(None, None).routes()
    yield every_route(service, operations=operations, more=registry)
    operations.close()


def operations_of(document):
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_it_describes_every_route_and_no_other(service, routes):
    told = operations_of(openapi(service, routes))
    assert set(told) == {
        (route.method, route.path) for route in routes if not route.path.endswith(UNDOCUMENTED)
    }
    for (method, path), operation in told.items():
        assert "default" not in operation["responses"], f"{method} {path} is not described"
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path))


def test_recognize_names_every_status_of_the_table(service, routes):
    told = operations_of(openapi(service, routes))
    every = {str(status.http) for status in [*STATUSES.values(), *IMAGE_STATUSES.values()]}
    for path in ("/v1/recognize", "/v2/models/{model}/infer"):
        assert set(told["POST", path]["responses"]) == {"200", *every} - {"499"}


def test_every_reference_leads_somewhere(service, routes):
    document = openapi(service, routes)
    for kind, name in re.findall(r"#/components/(\w+)/([\w-]+)", str(document)):
        assert name in document["components"][kind]
    told = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert told == set(document["components"]["schemas"])


def test_what_asks_for_a_key_says_so(service, routes):
    for keys in (False, True):
        before, service.access = service.access, Locked() if keys else service.access
        told = operations_of(openapi(service, routes))
        service.access = before
        for route in routes:
            operation = told.get((route.method, route.path))
            if operation is None:
                continue
            assert ("security" in operation) == (route.scope != "public"), route.path
            if route.scope != "public":
                assert {"401", "403"} <= set(operation["responses"])
                needed = keys or route.scope == "admin"
                assert ({} in operation["security"]) != needed
