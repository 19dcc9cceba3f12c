from __future__ import annotations

from pathlib import Path

import pytest

from clearsight.core.errors import StorageError
from clearsight.serve.store.place import bundles_root, database_url, store_folder


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    folder = store_folder(tmp_path / "a" / "b")
    assert mode(folder) == 0o700
    assert store_folder(folder) == folder


def test_the_option_the_variable_and_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("CLEARSIGHT_STORE", raising=False)
    assert store_folder() == tmp_path / "data" / "clearsight"
    monkeypatch.setenv("CLEARSIGHT_STORE", str(tmp_path / "told"))
    assert store_folder() == tmp_path / "told"
    assert store_folder(tmp_path / "option") == tmp_path / "option"


def test_where_rows_and_bundles_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARSIGHT_DATABASE", "CLEARSIGHT_BUNDLES"):
        monkeypatch.delenv(name, raising=False)
    assert database_url(tmp_path) == f"sqlite:///{tmp_path / 'store.sqlite3'}"
    assert bundles_root(tmp_path) == str(tmp_path / "bundles")
    monkeypatch.setenv("CLEARSIGHT_DATABASE", "postgresql://host/name")
    monkeypatch.setenv("CLEARSIGHT_BUNDLES", "s3://bucket")
    assert database_url(tmp_path) == "postgresql://host/name"
    assert bundles_root(tmp_path) == "s3://bucket"


def test_an_open_folder_of_ours_is_closed(tmp_path: Path) -> None:
    for name in ("empty", "used"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "used" / "bundles").mkdir()
    assert mode(store_folder(tmp_path / "empty")) == 0o700
    assert mode(store_folder(tmp_path / "used")) == 0o700


def test_a_folder_with_other_things_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir(mode=0o755)
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(StorageError, match="holds other things"):
        store_folder(tmp_path / "photos")
    assert mode(tmp_path / "photos") == 0o755


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file"):
        store_folder(tmp_path / "file")
