"""Check 31: every route of the application tried with every kind of wrong key.

Routes come from the application itself, so a new one is tried without being named here. What is
public is listed here on purpose: a new public route fails until somebody has looked at it.
"""

import re

import pytest
from house import LABEL, MODEL, OWNER, WRONG

from clearsight.serve.access.caller import ROUTE_SCOPES, Everybody
from clearsight.serve.http_messages import Route, json_response

OF_ALL_TENANTS = {"/metrics"}  # for keys of the default tenant alone
PAGE_FILE = re.compile(r"/([\w.-]+\.(js|css|svg))?")
PUBLIC = {
    "/livez",
    "/readyz",
    "/openapi.json",
    "/v2",
    "/v2/",
    "/v2/health/live",
    "/v2/health/ready",
}
REFUSED = (401, 403, 404)


def let_in(house, kind, app=None):
    """Return every route that does not refuse this kind of key."""
    app = app or house.app()
    through = []
    for method, route in house.protected():
        token = house.tokens[kind]
        answer = house.ask(app, method, route.path, token)
        if answer.status not in REFUSED[:2]:
            through.append((method, route.path, answer.status))
    return through


def test_there_are_routes_to_try(house):
    found = {route.path for _, route in house.protected()}
    assert {"/v1/recognize", "/v1/models", "/metrics", "/v1/stats", "/v1/feedback"} <= found
    assert {"/v1/registry", "/v1/registry/{model}/promote"} <= found
    assert "/v2/models/{model}/infer" in found
    assert len(found) > 20


@pytest.mark.parametrize("kind", WRONG)
def test_no_route_opens_to_a_wrong_key(house, kind):
    assert let_in(house, kind) == []


def test_all_wrong_keys_look_alike_on_every_route(house):
    app = house.app()
    for method, route in house.protected():
        answers = set()
        for kind in WRONG:
            answer = house.ask(app, method, route.path, house.tokens[kind])
            answers.add((answer.status, answer.body, tuple(sorted(answer.headers.items()))))
        assert len(answers) == 1, (method, route.path)
        assert answers.pop()[0] == 401


def test_a_401_says_how_to_show_a_key(house):
    app = house.app()
    for method, route in house.protected():
        answer = house.ask(app, method, route.path, None)
        assert answer.headers.get(b"www-authenticate") == b"Bearer", route.path
        assert method == "HEAD" or b"X-API-Key" in answer.body


def test_no_route_opens_to_a_key_without_its_scope(house):
    app = house.app()
    for method, route in house.protected():
        answer = house.ask(app, method, route.path, house.tokens[f"without {route.scope}"])
        assert answer.status == 403, (method, route.path)


def test_the_right_key_opens_every_route(house):
    app = house.app()
    for method, route in house.protected():
        kind = "operator" if route.path in OF_ALL_TENANTS else "good"
        answer = house.ask(app, method, route.path, house.tokens[kind])
        assert answer.status not in REFUSED, (method, route.path, answer.body)


def test_another_tenants_key_finds_no_model_of_this_one(house):
    app = house.app()
    for method, route in house.protected():
        answer = house.ask(app, method, route.path, house.tokens["stranger"])
        if "{" in route.path or route.path == "/v1/recognize":
            assert answer.status == 404, (method, route.path, answer.status)
        assert route.path not in OF_ALL_TENANTS or answer.status == 403
        echoed = answer.body.replace(f"No model '{MODEL}' is served here.".encode(), b"")
        for secret in (MODEL, LABEL, OWNER):
            assert secret.encode() not in echoed, (method, route.path, answer.body)


def test_what_is_public_is_what_was_looked_at_and_tells_nothing_of_a_tenant(house):
    app = house.app()
    for route in house.routes:
        if route.scope != "public":
            continue
        assert route.path in PUBLIC or PAGE_FILE.fullmatch(route.path), route.path
        assert route.method == "GET"
        for kind in ("none", "unknown"):
            answer = house.ask(app, route.method, route.path, house.tokens[kind])
            assert answer.status == 200, route.path
            for secret in (MODEL, LABEL, OWNER):
                assert secret.encode() not in answer.body, route.path


def test_every_scope_guards_something_or_is_reserved(house):
    assert {route.scope for route in house.routes} <= set(ROUTE_SCOPES)


# Negative controls: each planted mistake is found by the tests above.


async def planted(request):
    return json_response({"models": [MODEL]})


def test_a_route_cannot_be_made_without_a_scope():
    with pytest.raises(TypeError, match="scope"):
        Route("GET", "/v1/new", planted)
    for scope in ("", None, "everybody"):
        with pytest.raises(ValueError, match="/v1/new"):
            Route("GET", "/v1/new", planted, scope)


def test_a_new_public_route_would_be_found(house):
    house.routes.append(Route("GET", "/v1/new", planted, "public"))
    with pytest.raises(AssertionError, match="/v1/new"):
        test_what_is_public_is_what_was_looked_at_and_tells_nothing_of_a_tenant(house)


def test_a_new_route_that_forgets_tenants_would_be_found(house):
    house.routes.append(Route("GET", "/v1/new", planted, "recognize"))
    assert let_in(house, "none") == []
    with pytest.raises(AssertionError, match="/v1/new"):
        test_another_tenants_key_finds_no_model_of_this_one(house)


def test_an_application_that_asks_nobody_would_be_found(house):
    house.service.access = Everybody()
    assert len(let_in(house, "none")) > 10


class Lenient:
    """A planted access that takes any key for the good one."""

    def __init__(self, access, good):
        self.access, self.good = access, good

    def caller(self, token, address):
        return self.access.caller(self.good if token else None, address)


def test_one_that_accepts_ended_keys_would_be_found(house):
    house.service.access = Lenient(house.service.access, house.tokens["good"])
    assert let_in(house, "none") == []
    assert len(let_in(house, "revoked")) > 10
