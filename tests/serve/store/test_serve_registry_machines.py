"""Two machines share one registry: PostgreSQL and object storage through configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from bad_models import good
from s3_server import new_bucket

from clearsight.core.bundle import MODEL
from clearsight.core.errors import GateError
from clearsight.engines.open import open_predictor
from clearsight.serve.registry.backup import back_up, look_through, restore
from clearsight.serve.registry.open import open_bundles, open_registry
from clearsight.serve.registry.promotion import Bounds
from clearsight.serve.store.database import Database
from clearsight.serve.store.object_blobs import ObjectBlobs
from clearsight.serve.store.place import database_url, store_folder

QUICK = Bounds(engine="onnxruntime")


def test_the_road_of_a_version_over_two_machines(
    new_postgresql: Callable[[], str], s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSIGHT_DATABASE", new_postgresql())
    monkeypatch.setenv("CLEARSIGHT_BUNDLES", new_bucket(uuid4().hex))
    one, two = open_registry(tmp_path / "one"), open_registry(tmp_path / "two")
    for number in (1, 2):
        bundle = good(tmp_path / f"bundle{number}", gain=0.05 * number)
        one.add("colours", bundle.path, who="ann")
    seen = two.revision()
    one.promote("colours", 1, who="ann", bounds=QUICK)
    assert two.revision() != seen
    version = two.entries()["colours"].versions["1"]
    assert open_predictor(two.folder(version), "onnxruntime").classes == ("red", "green", "blue")
    assert version.path.is_relative_to(tmp_path / "two")
    two.promote("colours", 2, who="bob", bounds=QUICK)
    assert one.rollback("colours", who="ann") == 1
    assert look_through(two) == []

    backup = tmp_path / "backup"
    assert back_up(two, backup) == 2
    monkeypatch.delenv("CLEARSIGHT_DATABASE")
    monkeypatch.delenv("CLEARSIGHT_BUNDLES")
    folder = store_folder(tmp_path / "alone")
    alone = Database(database_url(folder))
    restore(backup, alone, open_bundles(folder))
    back = open_registry(folder)
    assert (back.models(), back.history()) == (one.models(), one.history())
    assert look_through(back) == []
    for registry in (one, two, back):
        registry.database.close()
    alone.close()


def test_what_was_changed_in_object_storage_is_not_promoted(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSIGHT_BUNDLES", new_bucket(uuid4().hex))
    one, two = open_registry(tmp_path / "one"), open_registry(tmp_path / "two")
    for registry in (one, two):  # each its own rows: only the Bundles are shared
        registry.add("colours", good(tmp_path / uuid4().hex).path, who="ann")
    digest = two.model("colours").versions[0].digest
    assert isinstance(two.blobs, ObjectBlobs)
    key = two.blobs._key(digest, MODEL)
    whole = two.blobs._files.cat_file(key)
    two.blobs._files.pipe_file(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    (two.blobs.place(digest) / MODEL).write_bytes(b"damaged here, so it is fetched again")
    with pytest.raises(GateError, match=r"\[corrupt\]"):
        two.promote("colours", 1, who="ann", bounds=QUICK)
    assert any("not what was put" in line for line in look_through(two))
    two.blobs._files.pipe_file(key, whole)
    two.promote("colours", 1, who="ann", bounds=QUICK)  # control
    for registry in (one, two):
        registry.database.close()
