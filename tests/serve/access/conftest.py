from copy import copy

import pytest
from house import built

from clearsight.serve.access.clock import Clock
from clearsight.serve.access.keyed import KeyedAccess
from clearsight.serve.access.keys import KeyStore
from clearsight.serve.access.usage import UsageStore
from clearsight.serve.store.database import Database

NOON = 1_790_000_000.0  # 2026-09-21T14:13:20Z


class Hands:
    """A wall clock and a steady clock that only the test moves."""

    def __init__(self, wall=NOON):
        self.wall, self.steady = wall, 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def pass_s(self, seconds):
        """Time passes on both."""
        self.wall += seconds
        self.steady += seconds

    def jump_s(self, seconds):
        """Somebody sets the wall clock."""
        self.wall += seconds

    def restarted(self):
        """The clock of a new process at the same moment."""
        return Clock(lambda: self.wall, lambda: self.steady)


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def database(tmp_path):
    opened = Database(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    yield opened
    opened.close()


@pytest.fixture
def store(database, hands):
    return KeyStore(database, hands.clock)


@pytest.fixture
def ledger(database):
    return UsageStore(database)


@pytest.fixture
def access(store, ledger, hands):
    door = KeyedAccess(store, ledger, hands.clock, watch=False)
    yield door
    door.close()


@pytest.fixture(scope="session")
def one_house(tmp_path_factory):
    with built(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture
def house(one_house):
    """The House of this run; what a test plants in it goes with the test."""
    own, access = copy(one_house), one_house.service.access
    own.routes = list(one_house.routes)
    yield own
    one_house.tried = own.tried
    one_house.service.access = access
