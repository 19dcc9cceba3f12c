"""Promotions while clients ask: no failure, and one version a response (CHECKS 25, small)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from bad_models import good, nan
from store_support import passes

from clearsight.core.errors import GateError
from clearsight.serve.access.caller import ANONYMOUS
from clearsight.serve.calls import Call
from clearsight.serve.limits import ServiceLimits
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.registry.promotion import Bounds
from clearsight.serve.service import Service
from clearsight.serve.store.blobs import FolderBlobs
from clearsight.serve.store.database import Database

VERSIONS = 3
PROMOTIONS = 3
CLIENTS = 6
RED = simplejpeg.encode_jpeg(np.full((8, 8, 3), (200, 60, 60), np.uint8), colorspace="RGB")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    registry = ModelRegistry(database, FolderBlobs(tmp_path / "bundles"), check=passes)
    for number in range(VERSIONS):
        bundle = good(tmp_path / f"bundle{number}", gain=0.01 * (number + 1))
        registry.add("colours", bundle.path, who="ann")
    registry.promote("colours", 1, who="ann")
    return registry


class Clients:
    """Ask again and again; keep (version, score) of every answer, and every failure."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.answers: list[tuple[str, float]] = []
        self.failures: list[Exception] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        while not self.stop.is_set():
            try:
                ticket = self.service.submit(Call([RED, RED]))
                for future in ticket.futures:
                    self.answers.append((ticket.model.version, future.result(30).scores[0]))
            except Exception as error:  # noqa: BLE001 - every failure counts
                self.failures.append(error)
            self.stop.wait(0.003)


def serving(registry: ModelRegistry) -> Service:
    return Service(registry, ServiceLimits(workers=2, queue=1000), engine="onnxruntime")


def test_promotions_under_load(registry: ModelRegistry) -> None:
    service = serving(registry)
    try:
        with Clients(service) as clients:
            for number in range(PROMOTIONS):
                wanted = number % VERSIONS + 1
                registry.promote("colours", wanted, who="ann")
                until = time.monotonic() + 60
                while service.models.resolve("colours", None, ANONYMOUS).version != str(wanted):
                    assert time.monotonic() < until, service.models.problems
                    clients.stop.wait(0.01)
                seen = len(clients.answers)
                while len(clients.answers) < seen + CLIENTS * 2 and not clients.failures:
                    clients.stop.wait(0.005)
    finally:
        service.close()
    assert clients.failures == []
    scores: dict[str, set[float]] = {}
    for version, score in clients.answers:
        scores.setdefault(version, set()).add(round(score, 5))
    assert set(scores) == {"1", "2", "3"}
    assert all(len(found) == 1 for found in scores.values())  # a response is of one version
    assert len(set.union(*scores.values())) == VERSIONS  # and the versions differ


def test_a_bad_promotion_under_load_is_not_noticed_by_clients(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    checked = ModelRegistry(registry.database, registry.blobs)
    checked.add("colours", nan(tmp_path / "bad").path, who="bob")
    service = serving(registry)
    try:
        with Clients(service) as clients:
            with pytest.raises(GateError, match=r"\[nan\]"):
                checked.promote("colours", 4, who="bob", bounds=Bounds(engine="onnxruntime"))
            service.models.refresh()
    finally:
        service.close()
    assert clients.failures == []
    assert {version for version, _ in clients.answers} == {"1"}


def test_control_without_checks_the_bad_version_reaches_the_service(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    registry.add("colours", nan(tmp_path / "bad").path, who="bob")
    service = serving(registry)
    try:
        registry.promote("colours", 4, who="bob")  # its checks always pass
        service.models.refresh()
        assert "colours" in service.models.problems  # the service keeps what it has, and says so
        assert service.recognize(Call([RED]))[0].label == "red"
    finally:
        service.close()
