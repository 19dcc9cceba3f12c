import pytest

from clearsight.serve.http_messages import Route
from clearsight.serve.routing import Router


async def handler(request):
    raise AssertionError


def route(path, method="GET", scope="recognize"):
    return Route(method, path, handler, scope)


def test_exact_addresses_win_over_patterns():
    router = Router([route("/v2/models/{model}"), route("/v2/models/stats")])
    assert router.find("/v2/models/stats")[0]["GET"].path == "/v2/models/stats"
    methods, values = router.find("/v2/models/a%20b")
    assert methods["GET"].path == "/v2/models/{model}"
    assert values == {"model": "a b"}


@pytest.mark.parametrize(
    "path", ["/v2/models/", "/v2/models/a/b", "/v2/models", "/x", "", "/V2/models/a"]
)
def test_what_no_route_answers(path):
    assert Router([route("/v2/models/{model}")]).find(path) == ({}, {})


def test_dots_in_an_address_are_dots():
    assert Router([route("/a.{x}")]).find("/ab1") == ({}, {})


def test_two_routes_for_one_address_are_refused():
    with pytest.raises(ValueError, match="Two routes"):
        Router([route("/a"), route("/a")])


@pytest.mark.parametrize("scope", ["", "everything", None])
def test_a_route_without_a_scope_cannot_be_made(scope):
    with pytest.raises(ValueError, match="scope"):
        route("/a", scope=scope)
