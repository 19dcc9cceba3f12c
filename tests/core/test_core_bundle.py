from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearsight.core import bundle as bundle_module
from clearsight.core.bundle import (
    MANIFEST,
    MODEL,
    Bundle,
    Manifest,
    canonical,
    open_bundle,
    write_bundle,
)
from clearsight.core.errors import BundleError, ConfigError, GateError, StorageError

ABOUT: dict[str, Any] = {
    "id": "0123456789abcdef",
    "created_utc": "2026-01-01T00:00:00+00:00",
    "classes": ("猫", "dog"),
    "family": "compact",
    "preprocessing": {"height": 8, "width": 8},
    "temperature": 1.5,
    "metrics": {"accuracy": 0.5, "confusion": [[1, 2], [3, 4]]},
    "data_fingerprint": "f" * 64,
    "seed": 0,
    "config": {"a": None},
    "versions": {"python": "3.11"},
}
FILES = {
    MODEL: bytes(range(256)) * 8,
    "model.safetensors": b"weights",
    "golden/0.png": b"picture",
    "golden/scores.json": b"{}",
    "card.md": "# 猫".encode(),
}


def accept(staged: Bundle) -> None:
    assert staged.manifest.classes == ABOUT["classes"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", ABOUT, FILES, accept).path


def refused(folder: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    return caught.value


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it a digest that is right again, as an attacker would."""
    values = json.loads((folder / MANIFEST).read_bytes())
    change(values)
    values["digest"] = bundle_module._digest(values)
    (folder / MANIFEST).write_bytes(bundle_module._dump(values))


def test_what_is_written_is_what_is_opened(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert {name: bundle.read(name) for name in bundle.manifest.files} == FILES
    assert bundle.manifest.temperature == 1.5
    assert (folder / MANIFEST).read_bytes() == canonical(bundle.manifest)
    assert open_bundle(folder.parent).path == folder  # a RUN folder means its Bundle


def test_every_byte_of_the_manifest(folder: Path) -> None:
    file = folder / MANIFEST
    content = bytearray(file.read_bytes())
    noise = random.Random(0)
    for position, byte in enumerate(content):
        content[position] = byte ^ noise.randint(1, 255)
        file.write_bytes(content)
        refused(folder)
        content[position] = byte
    file.write_bytes(content)
    open_bundle(folder)


def test_every_single_bit_of_two_manifest_lines(folder: Path) -> None:
    file = folder / MANIFEST
    content = bytearray(file.read_bytes())
    start = content.index(b'"seed"') - 60
    for position in range(start, start + 120):
        for bit in range(8):
            content[position] ^= 1 << bit
            file.write_bytes(content)
            refused(folder)
            content[position] ^= 1 << bit


def test_random_bytes_of_every_file(folder: Path) -> None:
    noise = random.Random(1)
    for name, content in FILES.items():
        for position in {0, len(content) - 1, *noise.choices(range(len(content)), k=60)}:
            changed = bytearray(content)
            changed[position] ^= noise.randint(1, 255)
            (folder / name).write_bytes(changed)
            assert name in str(refused(folder))
        (folder / name).write_bytes(content)
    open_bundle(folder)


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_truncated_grown_emptied_removed(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for changed in (content[:-1], content[: len(content) // 2], b"", content + b"\n"):
        (folder / name).write_bytes(changed)
        refused(folder)
    (folder / name).unlink()
    refused(folder)


@pytest.mark.parametrize(
    "name", ["extra", ".hidden", "golden/1.png", "new/file", "model.onnx.data"]
)
def test_extra_files(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    assert "does not list" in str(refused(folder))


def test_extra_folders(folder: Path) -> None:
    (folder / "golden" / "empty").mkdir()
    assert "golden/empty" in str(refused(folder))


@pytest.mark.parametrize("name", [MANIFEST, MODEL, "golden/0.png", "golden"])
def test_links(folder: Path, tmp_path: Path, name: str) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(folder / name, moved)
    (folder / name).symlink_to(moved)
    refused(folder)


def test_a_dangling_link_and_a_pipe(folder: Path) -> None:
    (folder / "extra").symlink_to("/nowhere")
    refused(folder)
    (folder / "extra").unlink()
    forge(folder, lambda values: values["files"]["card.md"].update(size=0))
    (folder / "card.md").unlink()
    os.mkfifo(folder / "card.md")  # opening it would wait for ever
    assert "special file" in str(refused(folder))


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a/../card.md", "./card.md", MANIFEST, "golden"]
)
def test_forged_names(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_bytes(b"")
    record = {"sha256": "0" * 64, "size": 0}
    forge(folder, lambda values: values["files"].update({name: record}))
    refused(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5, [1]])
def test_unknown_version(folder: Path, version: object) -> None:
    forge(folder, lambda values: values.update(format_version=version))
    error = refused(folder)
    if version in (0, 2) and version is not True:
        assert "Install the clearsight version that wrote it" in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["one"]},
        {"classes": ["twice", "twice"]},
        {"classes": ["", "x"]},
        {"classes": ["\ud800", "x"]},
        {"config": {"a": "\ud800"}},
        {"config": {"a": float("nan")}},
        {"temperature": 0},
        {"temperature": float("inf")},
        {"rejection_threshold": 2},
        {"unknown": 1},
        {"files": []},
        {"id": "../../x"},
        {"preprocessing": {"height": 10**9, "width": 8}},
    ],
)
def test_forged_values(folder: Path, change: dict[str, Any]) -> None:
    values = json.loads((folder / MANIFEST).read_bytes()) | change
    (folder / MANIFEST).write_text(json.dumps(values, indent=1, sort_keys=True))
    refused(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"format_version":1,"config":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        b"\xff\xfe{\x00}\x00",
        b'{"format_version": 1, "seed": ' + b"9" * 10_000 + b"}",
        b"\x00" * 1000,
    ],
)
def test_hostile_manifests(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    refused(folder)


def test_another_spelling_of_the_same_manifest(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_bytes())
    for spelling in (
        json.dumps(values),
        json.dumps(values, indent=1, sort_keys=True),
        json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + " ",
    ):
        (folder / MANIFEST).write_text(spelling, encoding="utf-8")
        refused(folder)


def test_a_huge_manifest_is_not_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda content: pytest.fail("parsed"))
    with open(folder / MANIFEST, "r+b") as stream:
        stream.truncate(10**12)  # sparse: takes no room on the disk
    monkeypatch.setattr(bundle_module, "MANIFEST_LIMIT_BYTES", 10_000)
    assert "too large" in str(refused(folder))


def test_changed_after_opening(folder: Path) -> None:
    bundle = open_bundle(folder)
    (folder / MODEL).write_bytes(FILES[MODEL][::-1])
    with pytest.raises(BundleError, match="not what was written"):
        bundle.read(MODEL)
    (folder / MODEL).write_bytes(FILES[MODEL] + b"more")
    with pytest.raises(BundleError, match="not what was written"):
        bundle.read(MODEL)
    (folder / MODEL).unlink()
    with pytest.raises(StorageError):
        bundle.read(MODEL)
    with pytest.raises(BundleError, match="holds no"):
        bundle.read("../outside")


def test_no_bundle(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert "holds no Bundle" in str(refused(path))


def test_a_refused_bundle_leaves_nothing(tmp_path: Path) -> None:
    def refuse(staged: Bundle) -> None:
        assert staged.read(MODEL) == FILES[MODEL]
        raise GateError("no")

    with pytest.raises(GateError):
        write_bundle(tmp_path / "bundle", ABOUT, FILES, refuse)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["../x", "/x", "", ".", "a/../b", "a//b", "a\0b", MANIFEST])
def test_unsafe_names_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="cannot hold"):
        write_bundle(tmp_path / "bundle", ABOUT, {name: b""}, accept)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object()])
def test_values_that_json_cannot_hold_are_not_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(ConfigError):
        write_bundle(tmp_path / "bundle", ABOUT | {"config": {"a": value}}, FILES, accept)
    assert os.listdir(tmp_path) == []


def test_number_keys_survive(tmp_path: Path) -> None:
    metrics = {"x": {2: 0.5, 10: 0.25}}
    write_bundle(tmp_path / "bundle", ABOUT | {"metrics": metrics}, FILES, accept)
    read = open_bundle(tmp_path / "bundle").manifest.metrics
    assert read == {"x": {"2": 0.5, "10": 0.25}}


def test_unknown_manifest_fields_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'family'"):
        Manifest.parse({**ABOUT, "files": {}, "famly": 1})


def test_a_bundle_from_before_a_field_was_added_still_opens(folder: Path) -> None:
    forge(folder, lambda values: [values.pop(name) for name in ("steps", "task")])
    assert open_bundle(folder).manifest.task == "single-label"
