"""Cuts, kills, full disks, backups and upgrades of the registry (CHECKS 14, 15, 17, 18)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import update
from store_support import CUT, EACH, copy_store, cut_at, in_child, no_room, passes, plain_bundle

from clearsight.core.bundle import MODEL, Bundle
from clearsight.core.errors import BundleError, StorageError
from clearsight.serve.registry.backup import back_up, look_through, restore
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.store.backup import damage
from clearsight.serve.store.blobs import FolderBlobs
from clearsight.serve.store.database import Database, owners

Make = Callable[[str], Bundle]
New = Callable[[str], Database]
State = tuple[dict[str, int], int]


def state(registry: ModelRegistry) -> State:
    """What a cut may leave: the aliases and the length of the history."""
    aliases = {str(k): v for k, v in registry.model("shoes").aliases.items()}
    return aliases, len(registry.history(limit=10_000))


def opened(url: str, folder: Path) -> ModelRegistry:
    return ModelRegistry(Database(url), FolderBlobs(folder / "bundles"), check=passes)


def filled(registry: ModelRegistry, bundle: Make, tags: str = "abc") -> None:
    for tag in tags:
        registry.add("shoes", bundle(tag).path, who="ann")
    registry.promote("shoes", 1, who="ann")
    if len(tags) > 1:
        registry.canary("shoes", 2, 0.5, who="ann")


CHANGES: dict[str, Callable[[ModelRegistry], object]] = {
    "promote": lambda r: r.promote("shoes", 2, who="bob"),
    "shadow": lambda r: r.shadow("shoes", 3, who="bob"),
    "stop": lambda r: r.stop("shoes", "canary", who="bob"),
    "withdraw": lambda r: r.withdraw("shoes", who="bob"),
    "remove": lambda r: r.remove("shoes", 3, who="bob"),
}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        *(("sqlite", name) for name in CHANGES),
        *(pytest.param("postgresql", name, marks=pytest.mark.slow) for name in CHANGES),
    ],
    indirect=["url"],
)
def test_a_change_cut_at_every_point_is_whole_or_nothing(
    name: str, url: str, registry: ModelRegistry, bundle: Make, tmp_path: Path
) -> None:
    filled(registry, bundle)
    before = state(registry)
    registry.database.close()
    seen = []
    for number in range(1, 60):

        def work(number: int = number) -> None:
            mine = opened(url, tmp_path)
            cut_at(mine.database.engine, number)
            CHANGES[name](mine)

        code = in_child(work)
        again = opened(url, tmp_path)
        assert look_through(again) == []
        seen.append((code, state(again) == before))
        again.database.close()
        if code == 0:
            break
    cut, done = seen[:-1], seen[-1]
    assert done == (0, False)
    assert set(cut) == {(CUT, True)}  # cut before its commit, it never happened
    assert len(cut) >= 5


def test_control_a_change_in_two_transactions_is_seen_half(
    registry: ModelRegistry, url: str, bundle: Make, tmp_path: Path
) -> None:
    filled(registry, bundle)
    before = state(registry)
    registry.database.close()

    def careless() -> None:
        mine = opened(url, tmp_path)
        mine.stop("shoes", "canary", who="bob")
        os._exit(CUT)  # before the promotion that should have come with it

    assert in_child(careless) == CUT
    assert state(opened(url, tmp_path)) != before


def test_a_power_cut_at_every_page_of_the_log(tmp_path: Path, bundle: Make) -> None:
    """However much of the write-ahead log reached the disk: the old state or the new one."""
    folder = tmp_path / "store"
    folder.mkdir()
    url = f"sqlite:///{folder / 'store.sqlite3'}"
    registry = opened(url, tmp_path)
    filled(registry, bundle)
    with registry.database.reading() as held:  # keeps the log from being folded into the file
        held.exec_driver_sql("SELECT * FROM clearsight_owners").all()
        old = state(registry)
        log = folder / "store.sqlite3-wal"
        start = log.stat().st_size
        registry.promote("shoes", 2, who="bob")
        new = state(registry)
        copy = copy_store(folder, tmp_path / "copy")
    content = (copy / log.name).read_bytes()
    noise = random.Random(0)
    lengths = {start, len(content), *(noise.randint(start, len(content)) for _ in range(30))}
    outcomes = []
    for length in sorted(lengths):
        torn = shutil.copytree(copy, tmp_path / f"torn-{length}")
        (torn / log.name).write_bytes(content[:length])
        again = opened(f"sqlite:///{torn / 'store.sqlite3'}", tmp_path)
        assert damage(again.database.engine) == []
        outcomes.append(state(again))
        again.database.close()
    assert outcomes[0] == old
    assert outcomes[-1] == new
    assert all(outcome in (old, new) for outcome in outcomes)


def test_a_full_disk_is_said_and_the_old_state_stays(tmp_path: Path, bundle: Make) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    registry = opened(url, tmp_path)
    filled(registry, bundle)
    before = registry.model("shoes")
    registry.database.close()

    def work() -> None:
        mine = opened(url, tmp_path)
        mine.models()
        no_room(0)
        for change in CHANGES.values():
            with pytest.raises(StorageError):
                change(mine)

    assert in_child(work) == 0
    again = opened(url, tmp_path)
    assert again.model("shoes") == before
    assert look_through(again) == []
    again.promote("shoes", 2, who="ann")  # and it goes on when there is room again
    assert again.model("shoes").aliases["production"] == 2


# -- writers and kills


def writer(url: str, folder: Path, seed: int, bundles: list[Path], say: int) -> None:
    """Change the registry for ever; say what was acknowledged, one line each."""
    mine = opened(url, folder)
    noise = random.Random(seed)
    name = f"model-{seed}"
    for step in range(100_000):
        added = mine.add(name, noise.choice(bundles), who=f"writer-{seed}", note=f"{step}")
        mine.promote(name, added.record.version, who=f"writer-{seed}", why=f"{seed}-{step}")
        os.write(say, f"{seed} {step} {added.record.version}\n".encode())
        other = f"model-{noise.randrange(8)}"
        mine.add(other, noise.choice(bundles), who=f"writer-{seed}")


def start_writer(url: str, folder: Path, seed: int, bundles: list[Path], say: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            writer(url, folder, seed, bundles, say)
        finally:
            os._exit(1)
    return child


def check_writers(url: str, tmp_path: Path, kills: int, seed: int = 0) -> int:
    """Let 8 writers work, kill them at random, and return how many changes were acknowledged."""
    opened(url, tmp_path).database.close()
    bundles = [plain_bundle(tmp_path / f"given-{n}", f"tag-{n}", 500).path for n in range(6)]
    noise = random.Random(seed)
    hear, say = os.pipe()
    os.set_blocking(hear, False)
    log = bytearray()

    def listen() -> None:
        try:
            while found := os.read(hear, 1 << 16):
                log.extend(found)
        except BlockingIOError:
            pass

    def wait_for_more() -> None:
        """Let the writers get something done, and a random moment more."""
        before, until = log.count(b"\n"), time.monotonic() + 60
        while log.count(b"\n") < before + 2 and time.monotonic() < until:
            time.sleep(0.005)
            listen()
        time.sleep(noise.uniform(0, 0.05))

    children = {s: start_writer(url, tmp_path, s, bundles, say) for s in range(8)}
    try:
        for _ in range(kills):
            wait_for_more()
            doomed = noise.randrange(8)
            os.kill(children[doomed], signal.SIGKILL)
            status = os.waitpid(children.pop(doomed), 0)[1]
            assert os.WIFSIGNALED(status), "a writer ended by itself"
            children[doomed] = start_writer(url, tmp_path, doomed, bundles, say)
        wait_for_more()
    finally:
        for child in children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        listen()
        os.close(hear)
        os.close(say)
    return _all_acknowledged_is_there(opened(url, tmp_path), log.decode())


def _all_acknowledged_is_there(registry: ModelRegistry, log: str) -> int:
    assert look_through(registry) == []
    history = registry.history(limit=10**6)
    assert [c.number for c in history] == list(range(len(history), 0, -1))  # no gap, no double
    promoted = {(c.model, c.why, c.version) for c in history if c.what == "promote"}
    said = [line.split() for line in log.splitlines()]
    for seed, step, version in said:
        assert (f"model-{seed}", f"{seed}-{step}", int(version)) in promoted
    for model in registry.models():
        newest = next((c for c in history if c.model == model.name and c.what == "promote"), None)
        assert model.aliases.get("production") == (newest.version if newest else None)
        assert len({v.digest for v in model.versions}) == len(model.versions)
    registry.database.close()
    return len(said)


@EACH
def test_writers_and_ten_kills(url: str, tmp_path: Path) -> None:
    assert check_writers(url, tmp_path, kills=10) > 10


@pytest.mark.slow
@EACH
def test_writers_and_two_hundred_kills(url: str, tmp_path: Path) -> None:
    assert check_writers(url, tmp_path, kills=200, seed=1) > 200


def test_control_a_lost_write_is_noticed(tmp_path: Path, bundle: Make) -> None:
    registry = opened(f"sqlite:///{tmp_path / 'store.sqlite3'}", tmp_path)
    filled(registry, bundle)
    with pytest.raises(AssertionError):
        _all_acknowledged_is_there(registry, "0 17 1\n")


# -- backup, restore, upgrade


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Callable[[str], str]:
    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'empty-{uuid4().hex}.sqlite3'}"
        url: str = request.getfixturevalue("new_postgresql")()
        return url

    return make


@pytest.mark.parametrize(
    ("url", "kind"), [("sqlite", "postgresql"), ("postgresql", "sqlite")], indirect=["url"]
)
def test_a_backup_comes_back_on_either_kind(
    kind: str,
    registry: ModelRegistry,
    bundle: Make,
    tmp_path: Path,
    empty_url: Callable[[str], str],
    new_database: New,
) -> None:
    filled(registry, bundle)
    assert back_up(registry, tmp_path / "backup") == 3
    wanted = registry.models(), registry.history()
    registry.promote("shoes", 3, who="later")
    database = new_database(empty_url(kind))
    assert restore(tmp_path / "backup", database, FolderBlobs(tmp_path / "back")) == 3
    back = ModelRegistry(database, FolderBlobs(tmp_path / "back"), check=passes)
    assert (back.models(), back.history()) == wanted
    assert look_through(back) == []
    back.promote("shoes", 3, who="ann")  # and it goes on
    assert back.rollback("shoes", who="ann") == 1


def test_a_backup_while_writers_go_on(url: str, tmp_path: Path) -> None:
    opened(url, tmp_path).database.close()
    bundles = [plain_bundle(tmp_path / f"given-{n}", f"tag-{n}", 500).path for n in range(6)]
    hear, say = os.pipe()
    os.set_blocking(say, False)
    child = start_writer(url, tmp_path, 0, bundles, say)
    try:
        os.read(hear, 10)
        registry = opened(url, tmp_path)
        for number in range(4):
            back_up(registry, tmp_path / f"backup-{number}")
        registry.database.close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(hear)
        os.close(say)
    for number in range(4):
        database = Database(f"sqlite:///{tmp_path / f'empty-{number}.sqlite3'}")
        blobs = FolderBlobs(tmp_path / f"back-{number}")
        restore(tmp_path / f"backup-{number}", database, blobs)
        back = ModelRegistry(database, blobs, check=passes)
        assert look_through(back) == []
        history = back.history(limit=10**6)
        assert [c.number for c in history] == list(range(len(history), 0, -1))
        database.close()


def test_a_backup_is_not_written_over_and_nothing_is_restored_over(
    registry: ModelRegistry, bundle: Make, tmp_path: Path
) -> None:
    filled(registry, bundle, "a")
    back_up(registry, tmp_path / "backup")
    with pytest.raises(StorageError, match="already exists"):
        back_up(registry, tmp_path / "backup")
    registry.promote("shoes", 1, who="later")
    wanted = registry.history()
    with pytest.raises(StorageError, match="holds something already"):
        restore(tmp_path / "backup", registry.database, registry.blobs)
    assert registry.history() == wanted


def test_a_damaged_backup_is_refused(tmp_path: Path, bundle: Make) -> None:
    registry = opened(f"sqlite:///{tmp_path / 'store.sqlite3'}", tmp_path)
    filled(registry, bundle, "a")
    back_up(registry, tmp_path / "backup")
    registry.database.close()
    file = next((tmp_path / "backup" / "bundles").glob(f"*/{MODEL}"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    empty = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    with pytest.raises(BundleError):
        restore(tmp_path / "backup", empty, FolderBlobs(tmp_path / "back"))
    file.write_bytes(whole)
    rows = tmp_path / "backup" / "store.sqlite3"
    content = rows.read_bytes()
    rows.write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError):
        restore(tmp_path / "backup", empty, FolderBlobs(tmp_path / "back"))
    rows.unlink()
    with pytest.raises(StorageError, match="is no backup"):
        restore(tmp_path / "backup", empty, FolderBlobs(tmp_path / "back"))
    rows.write_bytes(content)
    restore(tmp_path / "backup", empty, FolderBlobs(tmp_path / "back"))  # control: mended
    empty.close()


def test_a_damaged_store_is_found(tmp_path: Path, bundle: Make) -> None:
    registry = opened(f"sqlite:///{tmp_path / 'store.sqlite3'}", tmp_path)
    filled(registry, bundle)
    assert look_through(registry) == []
    file = registry.blobs.folder(registry.model("shoes").versions[1].digest) / MODEL
    file.write_bytes(b"other")
    assert [p.split(":")[0] for p in look_through(registry)] == ["shoes version 2"]
    registry.database.close()
    loose = sqlite3.connect(tmp_path / "store.sqlite3")
    loose.execute("DELETE FROM registry_models")
    loose.commit()
    loose.close()
    again = opened(f"sqlite:///{tmp_path / 'store.sqlite3'}", tmp_path)
    assert any("refers to a row of registry_models" in line for line in look_through(again))
    again.database.close()


def test_a_store_of_a_newer_clearsight_is_refused_undamaged(
    registry: ModelRegistry, url: str, bundle: Make, tmp_path: Path
) -> None:
    filled(registry, bundle)
    with registry.database.transaction() as connection:
        connection.execute(update(owners).where(owners.c.owner == "registry").values(schema=2))
    with pytest.raises(StorageError, match="Nothing was changed"):
        opened(url, tmp_path)
    back_up(registry, tmp_path / "backup")
    with pytest.raises(StorageError, match="newer clearsight"):
        restore(
            tmp_path / "backup",
            Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}"),
            FolderBlobs(tmp_path / "back"),
        )
    with registry.database.transaction() as connection:
        connection.execute(update(owners).where(owners.c.owner == "registry").values(schema=1))
    assert look_through(opened(url, tmp_path)) == []
    assert opened(url, tmp_path).model("shoes").aliases == {"production": 1, "canary": 2}
