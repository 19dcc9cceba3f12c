from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from postgresql_cluster import Server, cluster, empty_again, fresh_database
from s3_server import s3_server
from store_support import KINDS, passes, plain_bundle

from clearsight.core.bundle import Bundle
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.store.blobs import FolderBlobs
from clearsight.serve.store.database import Database


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled models of these tests stay with them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with cluster() as running:
        yield running


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def new_postgresql(server: Server) -> Iterator[Callable[[], str]]:
    """Make empty databases of the server; they are emptied after the test."""
    yield lambda: fresh_database(server)
    empty_again(server)


@pytest.fixture(params=[KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database; the tests marked EACH use both kinds by default."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite3'}"
    url: str = request.getfixturevalue("new_postgresql")()
    return url


@pytest.fixture
def new_database() -> Iterator[Callable[[str], Database]]:
    """Open databases that are closed after the test."""
    opened: list[Database] = []

    def new(url: str) -> Database:
        opened.append(Database(url))
        return opened[-1]

    yield new
    for database in opened:
        database.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[str], Bundle]:
    """Make Bundles that no engine opens."""
    return lambda tag: plain_bundle(tmp_path / f"bundle-{uuid4().hex}", tag)


@pytest.fixture
def registry(url: str, tmp_path: Path, new_database: Callable[[str], Database]) -> ModelRegistry:
    """An empty registry whose checks pass, on each kind of database."""
    return ModelRegistry(new_database(url), FolderBlobs(tmp_path / "bundles"), check=passes)
