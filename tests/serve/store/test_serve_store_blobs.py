"""Bundles by content: in a folder and in object storage, whole or not at all."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from s3_server import new_bucket
from store_support import CUT, in_child, no_room, plain_bundle

from clearsight.core.bundle import MANIFEST, MODEL, Bundle
from clearsight.core.errors import BundleError, ConfigError, MissingExtraError, StorageError
from clearsight.core.files import TEMPORARY_PREFIX
from clearsight.serve.store import blobs as blobs_module
from clearsight.serve.store.blobs import Blobs, BundleCache, FolderBlobs, copy_file
from clearsight.serve.store.object_blobs import ObjectBlobs, open_blobs

Make = Callable[[str], Bundle]
KINDS = ("folder", "memory", "s3")


@pytest.fixture(params=KINDS)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "bundles")
    return ObjectBlobs(address(request, request.param), BundleCache(tmp_path / "cache"))


def address(request: pytest.FixtureRequest, kind: str) -> str:
    """An empty place in object storage."""
    pytest.importorskip("fsspec", reason="needs the extra clearsight[objects]")
    if kind == "memory":
        return f"memory://{uuid4().hex}"
    request.getfixturevalue("s3")
    return new_bucket(uuid4().hex)


def content(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(f"{TEMPORARY_PREFIX}*")]


def test_what_is_put_is_what_is_there(blobs: Blobs, bundle: Make) -> None:
    given = bundle("a")
    stored = blobs.put(given)
    assert blobs.has(stored.digest)
    assert content(blobs.folder(stored.digest)) == content(given.path)
    assert blobs.folder(stored.digest) == blobs.place(stored.digest)
    blobs.verify(stored.digest)
    assert blobs.sizes() == {stored.digest: stored.size_bytes}
    assert stored.size_bytes == sum(map(len, content(given.path).values()))


def test_the_same_content_is_kept_once(blobs: Blobs, bundle: Make) -> None:
    assert blobs.put(bundle("a")) == blobs.put(bundle("a"))
    assert blobs.put(bundle("b")).digest not in {blobs.put(bundle("a")).digest}
    assert len(blobs.sizes()) == 2


def test_what_is_not_there(blobs: Blobs) -> None:
    assert not blobs.has("0" * 64)
    for ask in (blobs.folder, blobs.verify):
        with pytest.raises(BundleError, match="registry restore"):
            ask("0" * 64)


@pytest.mark.parametrize("digest", ["", "../secret", "0" * 63, "0" * 64 + "\n", "A" * 64])
def test_only_addresses_are_looked_up(blobs: Blobs, digest: str) -> None:
    with pytest.raises(StorageError, match="no address"):
        blobs.folder(digest)


def test_more_than_the_quota_is_refused_and_leaves_nothing(tmp_path: Path, bundle: Make) -> None:
    size = FolderBlobs(tmp_path / "size").put(bundle("a")).size_bytes
    blobs = FolderBlobs(tmp_path / "bundles", quota_bytes=2 * size + 10)
    for tag in "ab":
        blobs.put(bundle(tag))
    with pytest.raises(StorageError, match=r"registry gc.*--quota"):
        blobs.put(bundle("c"))
    assert len(blobs.sizes()) == 2
    assert litter(blobs.root) == []
    blobs.put(bundle("a"))  # what is there needs no room


def test_object_storage_has_the_same_quota(tmp_path: Path, bundle: Make) -> None:
    pytest.importorskip("fsspec")
    blobs = ObjectBlobs(f"memory://{uuid4().hex}", BundleCache(tmp_path / "cache"), 10_500)
    blobs.put(bundle("a"))
    with pytest.raises(StorageError, match="--quota"):
        blobs.put(bundle("b"))
    assert len(blobs.sizes()) == 1


def test_collection_keeps_what_is_referred_to_and_what_is_new(blobs: Blobs, bundle: Make) -> None:
    kept, gone = blobs.put(bundle("kept")), blobs.put(bundle("gone"))
    assert blobs.collect({kept.digest}, grace_s=3600).digests == ()
    collected = blobs.collect({kept.digest}, grace_s=0)
    assert collected.digests == (gone.digest,)
    assert collected.freed_bytes == gone.size_bytes
    assert set(blobs.sizes()) == {kept.digest}
    assert not blobs.has(gone.digest)
    blobs.verify(kept.digest)


def test_putting_again_renews_the_grace(tmp_path: Path, bundle: Make) -> None:
    blobs = FolderBlobs(tmp_path / "bundles")
    stored = blobs.put(bundle("a"))
    old = time.time() - 7200
    os.utime(blobs.folder(stored.digest), (old, old))
    blobs.put(bundle("a"))
    assert blobs.collect((), grace_s=3600).digests == ()
    os.utime(blobs.folder(stored.digest), (old, old))
    assert blobs.collect((), grace_s=3600).digests == (stored.digest,)  # and without it


# -- damage (CHECKS 16)


def test_a_thousand_flipped_bits_are_all_found(tmp_path: Path, bundle: Make) -> None:
    blobs = FolderBlobs(tmp_path / "bundles")
    digest = blobs.put(bundle("a")).digest
    files = [path for path in blobs.folder(digest).rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    noise = random.Random(0)
    for path in noise.choices(files, sizes, k=1000):
        position, bit = noise.randrange(path.stat().st_size), 1 << noise.randrange(8)
        with open(path, "r+b") as stream:
            stream.seek(position)
            byte = stream.read(1)[0]
            stream.seek(position)
            stream.write(bytes([byte ^ bit]))
            stream.flush()
            with pytest.raises(BundleError):
                blobs.verify(digest)
            stream.seek(position)
            stream.write(bytes([byte]))
    blobs.verify(digest)  # control: restored, it is whole again


def test_every_truncation_is_found(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "bundles")
    digest = blobs.put(plain_bundle(tmp_path / "large", "large", model_bytes=100_000)).digest
    for path in [p for p in blobs.folder(digest).rglob("*") if p.is_file()]:
        whole = path.read_bytes()
        for length in {*range(0, len(whole), 4096), len(whole) - 1}:
            path.write_bytes(whole[:length])
            with pytest.raises(BundleError):
                blobs.verify(digest)
        path.write_bytes(whole)
    blobs.verify(digest)


def test_damaged_copies_are_replaced_when_the_bundle_is_put_again(
    tmp_path: Path, bundle: Make
) -> None:
    blobs = FolderBlobs(tmp_path / "bundles")
    given = bundle("a")
    digest = blobs.put(given).digest
    for damage in (
        lambda folder: (folder / MODEL).write_bytes(b"other"),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / "extra").touch(),
    ):
        damage(blobs.place(digest))
        blobs.put(given)
        blobs.verify(digest)
    assert litter(blobs.root) == []


def test_another_whole_bundle_in_its_place_is_found(tmp_path: Path, bundle: Make) -> None:
    blobs = FolderBlobs(tmp_path / "bundles")
    one, other = blobs.put(bundle("a")), blobs.put(bundle("b"))
    os.rename(blobs.place(one.digest), tmp_path / "aside")
    os.rename(blobs.place(other.digest), blobs.place(one.digest))
    with pytest.raises(BundleError, match="not the one that was put here"):
        blobs.verify(one.digest)


def test_links_are_refused(tmp_path: Path, bundle: Make) -> None:
    blobs = FolderBlobs(tmp_path / "bundles")
    given = bundle("a")
    secret = tmp_path / "secret"
    os.rename(given.path / MODEL, secret)
    (given.path / MODEL).symlink_to(secret)  # after it was opened
    with pytest.raises(StorageError):
        blobs.put(given)
    assert blobs.sizes() == {}
    digest = blobs.put(bundle("b")).digest
    os.rename(blobs.place(digest), tmp_path / "moved")
    blobs.place(digest).symlink_to(tmp_path / "moved")
    with pytest.raises(BundleError, match="is a link"):
        blobs.verify(digest)


def test_a_file_that_changes_while_it_is_copied(
    tmp_path: Path, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bundle("a")

    def swapped(source: Path, target: Path, record: object) -> None:
        if source.name == MODEL:
            source.write_bytes(b"x" * source.stat().st_size)
        copy_file(source, target, record)  # type: ignore[arg-type]

    monkeypatch.setattr(blobs_module, "copy_file", swapped)
    blobs = FolderBlobs(tmp_path / "bundles")
    with pytest.raises(BundleError, match="changed while it was copied"):
        blobs.put(given)
    assert list(blobs.sizes()) == litter(blobs.root) == []


# -- cuts (CHECKS 14, 15)


def put_cut_at(root: Path, given: Bundle, number: int) -> int:
    """Put a Bundle in a process that ends before its `number`th file operation."""

    def work() -> None:
        left = [number]
        for name in ("open", "fsync", "rename", "mkdir", "close"):
            real = getattr(os, name)

            def counted(*args: object, real: Callable[..., object] = real, **kw: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(CUT)
                return real(*args, **kw)

            setattr(os, name, counted)
        FolderBlobs(root).put(given)

    return in_child(work)


def test_a_put_cut_at_every_point_is_whole_or_nothing(tmp_path: Path, bundle: Make) -> None:
    given = bundle("a")
    root = tmp_path / "bundles"
    digest = FolderBlobs(tmp_path / "known").put(given).digest
    seen = set()
    for number in range(1, 200):
        code = put_cut_at(root, given, number)
        blobs = FolderBlobs(root)
        if blobs.place(digest).exists():
            blobs.verify(digest)
        seen.add((code, blobs.has(digest)))
        blobs.collect((), grace_s=0)
        assert blobs.sizes() == {}
        assert litter(root) == []
        if code == 0:
            break
    assert seen == {(CUT, False), (CUT, True), (0, True)}
    assert number > 15  # it was really cut at many points


def test_control_a_copy_in_place_is_seen_half(tmp_path: Path, bundle: Make) -> None:
    given = bundle("a")

    def careless(staged: Path) -> None:
        staged.mkdir()
        (staged / MANIFEST).write_bytes((given.path / MANIFEST).read_bytes())
        os._exit(CUT)

    blobs = FolderBlobs(tmp_path / "bundles")
    digest = FolderBlobs(tmp_path / "known").put(given).digest
    assert in_child(lambda: careless(blobs.place(digest))) == CUT
    with pytest.raises(BundleError):
        blobs.verify(digest)


def test_a_full_disk_leaves_nothing(tmp_path: Path, bundle: Make) -> None:
    root, given = tmp_path / "bundles", bundle("a")

    def work() -> None:
        no_room(4096)
        with pytest.raises(StorageError):
            FolderBlobs(root).put(given)

    assert in_child(work) == 0
    assert list(FolderBlobs(root).sizes()) == litter(root) == []
    FolderBlobs(root).put(given)


def test_every_flush_that_fails_is_said_and_leaves_nothing(
    tmp_path: Path, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, real = bundle("a"), os.fsync
    said: set[str] = set()
    for number in range(30):
        blobs = FolderBlobs(tmp_path / "bundles")
        left = [number]

        def failing(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, "Input/output error")
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            try:
                blobs.put(given)
            except StorageError as error:
                said.add(str(error).rsplit(": ", 1)[1])
                assert litter(blobs.root) == []
                for digest in blobs.sizes():  # only the last flush comes after the renaming
                    blobs.verify(digest)
                continue
        break
    assert number > 5
    assert said == {"Input/output error."}
    assert len(blobs.sizes()) == 1


def test_processes_that_put_the_same_at_once(tmp_path: Path, bundle: Make) -> None:
    root, given = tmp_path / "bundles", bundle("a")
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            try:
                FolderBlobs(root).put(given)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    blobs = FolderBlobs(root)
    assert len(blobs.sizes()) == 1
    blobs.verify(next(iter(blobs.sizes())))


# -- object storage


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectBlobs:
    return ObjectBlobs(address(request, request.param), BundleCache(tmp_path / "cache"))


def another_machine(blobs: ObjectBlobs, cache: Path, quota_bytes: int = 10**9) -> ObjectBlobs:
    return ObjectBlobs(blobs.url, BundleCache(cache, quota_bytes))


def test_another_machine_reads_through_its_cache(
    objects: ObjectBlobs, tmp_path: Path, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bundle("a")
    digest = objects.put(given).digest
    other = another_machine(objects, tmp_path / "other")
    assert content(other.folder(digest)) == content(given.path)
    monkeypatch.setattr(other, "_files", None)  # a second look needs no network
    assert content(other.folder(digest)) == content(given.path)


def test_a_damaged_copy_in_the_cache_is_fetched_again(objects: ObjectBlobs, bundle: Make) -> None:
    given = bundle("a")
    digest = objects.put(given).digest
    (objects.place(digest) / MODEL).write_bytes(b"other")
    assert content(objects.folder(digest)) == content(given.path)


def test_it_counts_as_present_from_its_manifest_on(objects: ObjectBlobs, bundle: Make) -> None:
    digest = objects.put(bundle("a")).digest
    objects._files.rm(objects._key(digest, MANIFEST))
    assert not objects.has(digest)
    assert objects.collect((), grace_s=3600).digests == ()  # may be on its way
    assert objects.collect((), grace_s=0).digests == (digest,)


def test_an_upload_cut_at_every_point(
    objects: ObjectBlobs, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, files = bundle("a"), objects._files
    digest = objects.cache.put(given).digest
    for number in range(20):
        left = [number]

        def counted(real: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def call(*args: object, **kw: object) -> object:
                if left[0] == 0:
                    raise ConnectionError("cut")
                left[0] -= 1
                return real(*args, **kw)

            return call

        with monkeypatch.context() as patch:
            for name in ("put_file", "pipe_file"):
                patch.setattr(files, name, counted(getattr(files, name)))
            try:
                objects.put(given)
            except StorageError:
                assert not objects.has(digest)
                continue
        objects.verify(digest)
        break
    assert number >= len(given.manifest.files)


@pytest.mark.parametrize("name", [MODEL, MANIFEST, "golden/0.png"])
def test_a_changed_object_is_not_fetched(
    objects: ObjectBlobs, tmp_path: Path, bundle: Make, name: str
) -> None:
    digest = objects.put(bundle("a")).digest
    key = objects._key(digest, name)
    whole = objects._files.cat_file(key)
    other = another_machine(objects, tmp_path / "other")
    for changed in (whole[:-1], whole + b" ", bytes([whole[0] ^ 1]) + whole[1:]):
        objects._files.pipe_file(key, changed)
        with pytest.raises(BundleError):
            objects.verify(digest)
        with pytest.raises(BundleError):
            other.folder(digest)
        assert list(other.cache.sizes()) == []
    objects._files.pipe_file(key, whole)
    other.folder(digest)


def test_putting_again_mends_what_was_changed(objects: ObjectBlobs, bundle: Make) -> None:
    given = bundle("a")
    digest = objects.put(given).digest
    objects._files.pipe_file(objects._key(digest, MODEL), b"other")
    objects.put(given)
    objects.verify(digest)


def test_the_cache_lets_the_oldest_go_but_nothing_in_use(
    objects: ObjectBlobs, tmp_path: Path, bundle: Make
) -> None:
    stored = {tag: objects.put(bundle(tag)) for tag in "abc"}
    size = max(s.size_bytes for s in stored.values())
    first = another_machine(objects, tmp_path / "other", 2 * size + 10)
    for tag in "ab":
        first.folder(stored[tag].digest)
    old = time.time() - 100
    os.utime(first.place(stored["a"].digest), (old, old))
    second = another_machine(objects, tmp_path / "other", 2 * size + 10)  # a later process
    second.folder(stored["c"].digest)
    assert not second.cache.has(stored["a"].digest)
    second.folder(stored["b"].digest)
    with pytest.raises(StorageError, match="--quota"):
        second.folder(stored["a"].digest)  # both others are in use by this process


def test_storage_that_does_not_answer(
    objects: ObjectBlobs, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = objects.put(bundle("a")).digest

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret-access-key")

    for name in ("exists", "find", "open"):
        monkeypatch.setattr(objects._files, name, broken)
    for ask in (lambda: objects.has(digest), objects.sizes, lambda: objects.verify(digest)):
        with pytest.raises(StorageError, match="did not answer") as caught:
            ask()
        assert "secret" not in str(caught.value)


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    assert isinstance(open_blobs(str(tmp_path / "b"), tmp_path / "c"), FolderBlobs)
    for url in ("simplecache::memory://x", "s3://key:secret@bucket", "nonsense://x"):
        with pytest.raises(ConfigError) as caught:
            open_blobs(url, tmp_path / "c")
        assert "secret" not in str(caught.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"clearsight\[objects\]"):
        open_blobs("memory://x", tmp_path / "c")
