"""The demo's pictures: every road to them, and the next one when it is closed."""

from __future__ import annotations

import gzip
import urllib.error
from pathlib import Path

import pytest

from clearsight.core.progress import Silent
from clearsight.data import sample_sets
from clearsight.data.dataset import read_dataset


@pytest.fixture(autouse=True)
def _no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample_sets, "DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setattr(sample_sets.shutil, "which", lambda name: None)


def test_the_installed_package_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in sample_sets.SHA256_UNPACKED:
        (tmp_path / f"{name}.gz").touch()
    monkeypatch.setattr(sample_sets, "DEBIAN_FOLDER", tmp_path)
    assert sample_sets.find_sample_set(tmp_path / "out", Silent()).path == tmp_path


def test_without_network_the_digits_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(sample_sets.urllib.request, "urlopen", away)
    found = sample_sets.find_sample_set(tmp_path, Silent())
    assert found.name == "digits"
    dataset = read_dataset(found.path)
    assert (len(dataset), len(dataset.classes)) == (1797, 10)
    assert not (tmp_path / "fashion-mnist").exists()


def test_a_download_with_another_checksum_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sample_sets, "_fetch", lambda url: gzip.compress(b"something else"))
    found = sample_sets.find_sample_set(tmp_path, Silent())
    assert found.name == "digits"
    assert not (tmp_path / "fashion-mnist").exists()
