"""Canary and shadow are told apart in metrics, live figures and log."""

import json
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from clearsight.serve.registry import promotion
from clearsight.serve.state import open_state
from clearsight.serve.store.place import store_folder
from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    state = open_state(store_folder(folder / "store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "check", lambda *_, **__: promotion.Report())
        for number, gain in enumerate((0.1, 0.09, 0.001), 1):
            bundle = write_colour_bundle(folder / str(number), gain=gain)
            state.registry.add("shoes", bundle.path, who="ann")
        state.registry.promote("shoes", 1, who="ann")
        state.registry.canary("shoes", 2, 0.5, who="ann")
        state.registry.shadow("shoes", 3, who="ann")
    state.close()
    with running_service([], store=folder / "store") as service:
        yield service.url


def ask(url, path, body=None):
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=20) as answer:
        return answer.read()


def test_canary_and_shadow_are_counted(three_versions):
    url, red = three_versions, picture("PNG", (200, 20, 20))
    versions = []
    for _ in range(60):
        versions.append(json.loads(ask(url, "/v1/recognize", red))["version"])
        time.sleep(0.01)  # a shadow works only when nothing else waits
    assert set(versions) == {"1", "2"}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(ask(url, "/metrics").decode())
        for sample in family.samples
    }

    def value(name, **labels):
        return samples.get((name, tuple(sorted({"model": "shoes", **labels}.items()))), 0)

    for version, role in (("1", "production"), ("2", "canary"), ("3", "shadow")):
        assert value("clearsight_model_role", version=version, role=role) == 1
    answered = {"outcome": "answered", "traffic": "live"}
    for version in ("1", "2"):
        counted = value("clearsight_pictures_total", version=version, **answered)
        assert counted == versions.count(version)
    assert value("clearsight_pictures_total", version="3", **answered) == 0
    compared = value("clearsight_shadow_compared_total", production="1", shadow="3")
    assert 0 < compared <= versions.count("1")
    assert value("clearsight_shadow_same_label_total", production="1", shadow="3") == compared
    [model] = json.loads(ask(url, "/v1/stats"))["models"]
    assert model["canary_share"] == 0.5
    told = {version["version"]: version for version in model["versions"]}
    assert [told[v]["roles"] for v in "123"] == [["production"], ["canary"], ["shadow"]]
    assert told["3"]["shadow"]["answered"] >= compared > 0
    assert told["3"]["live"]["answered"] == 0
    assert model["comparisons"][0]["pictures"] >= compared


def test_drift_of_a_version_is_asked_for_by_its_name(three_versions):
    for query, version in (("", "1"), ("?version=2", "2"), ("?version=canary", "2")):
        report = json.loads(ask(three_versions, f"/v1/models/shoes/drift{query}"))
        assert report == {"model": "shoes", "version": version, "state": "no reference"}
    for path in ("/v1/models/boots/drift", "/v1/models/shoes/drift?version=9"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(three_versions, path)
