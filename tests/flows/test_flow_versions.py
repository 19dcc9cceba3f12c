"""A registry in front of a real service: promote, canary, shadow and roll back while it answers."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

from clearsight.serve.access.keys import KeyStore
from clearsight.serve.registry.open import open_registry
from clearsight.serve.store.database import Database
from clearsight.serve.store.place import database_url, store_folder
from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle

PATIENCE_S = 20


def red():
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (220, 20, 20)).save(stream, "PNG")
    return stream.getvalue()


class Caller:
    def __init__(self, url, key=""):
        self.url, self.headers = url, {"authorization": f"Bearer {key}"} if key else {}

    def __call__(self, path, body=None, method=None):
        request = urllib.request.Request(
            self.url + path, data=body, headers=self.headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def change(self, what, **told):
        return self(f"/v1/registry/shoes/{what}", json.dumps(told).encode())

    def version(self):
        status, answer = self("/v1/recognize", red())
        assert status == 200, answer
        return answer["version"]


def until(holds):
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A store with two versions of one model, an administrator's key and a user's key."""
    folder = store_folder(tmp_path_factory.mktemp("house") / "store")
    registry = open_registry(folder)
    for version, gain in ((1, 0.1), (2, 0.2)):
        bundle = write_colour_bundle(folder.parent / f"v{version}", gain=gain)
        registry.add("shoes", bundle.path, who="test")
    registry.promote("shoes", 1, who="test")
    store = KeyStore(Database(database_url(folder)))
    keys = {
        "admin": store.create("admin", scopes=["recognize", "metrics", "admin"]).token,
        "user": store.create("user", scopes=["recognize"]).token,
    }
    with running_service([], store=folder) as running:
        yield {name: Caller(running.url, key) for name, key in {**keys, "nobody": ""}.items()}


def test_a_version_goes_into_production_and_back(house):
    user, admin = house["user"], house["admin"]
    assert user.version() == "1"
    status, model = admin.change("promote", version=2, why="brighter")
    assert (status, model["aliases"]) == (200, {"production": 2})
    assert user.version() == "2", "the answer to a change came before the change"
    assert admin.change("rollback")[0] == 200
    assert user.version() == "1"
    what = [change["what"] for change in admin("/v1/registry/shoes/history")[1]["changes"]]
    assert what[:2] == ["rollback", "promote"]


def test_a_canary_and_a_shadow(house):
    user, admin = house["user"], house["admin"]
    assert admin.change("canary", version=2, share=0.5)[0] == 200
    seen = {user.version() for _ in range(5)}
    assert len(seen) == 1, "one key saw two versions"
    assert user("/v1/recognize?version=canary", red())[1]["version"] == "2"
    assert admin.change("stop", alias="canary")[0] == 200
    assert admin.change("shadow", version=2)[0] == 200

    def compared():
        user("/v1/recognize", red())
        shoes = admin("/v1/stats")[1]["models"][0]
        return any(pair["pictures"] for pair in shoes["comparisons"])

    until(compared)
    assert admin.change("stop", alias="shadow")[0] == 200


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"version": 9}, 404),
        ({"version": "2"}, 400),
        ({"version": True}, 400),
        ({}, 400),
        ({"version": 2, "url": "http://elsewhere"}, 400),
    ],
)
def test_changes_that_cannot_be(house, told, status):
    assert house["admin"].change("promote", **told)[0] == status
    assert house["user"].version() == "1"


def test_only_administrators_change_anything(house):
    for path in ("", "/shoes/history"):
        assert house["user"]("/v1/registry" + path)[0] == 403
        assert house["nobody"]("/v1/registry" + path)[0] == 401
    assert house["user"].change("promote", version=2)[0] == 403
    assert house["nobody"].change("promote", version=2)[0] == 401
    assert house["nobody"]("/v1/recognize", red())[0] == 401
    assert house["admin"]("/v1/registry/hats/history")[0] == 404
