"""Bundles in object storage (S3 and others through fsspec), read through a folder of this machine.

Objects appear one by one, so a Bundle counts as present from its manifest on, which comes last.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clearsight.core.bundle import (
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    Bundle,
    FileRecord,
    Manifest,
)
from clearsight.core.errors import (
    BundleError,
    ClearsightError,
    ConfigError,
    MissingExtraError,
    StorageError,
)
from clearsight.serve.store.blobs import (
    CHUNK_BYTES,
    DIGEST,
    GRACE_S,
    QUOTA_BYTES,
    Blobs,
    BundleCache,
    Collected,
    FolderBlobs,
    Stored,
    address,
    check_bundle,
    check_quota,
    read_manifest,
    size_of,
)

EXTRA = "objects"


def open_blobs(root: str, cache: Path, quota_bytes: int = QUOTA_BYTES) -> Blobs:
    """Return the store of Bundles at a folder or a URL.

    Args:
        root: a folder, or a URL that fsspec knows (s3://bucket/path, memory://name ...).
        cache: folder of this machine for copies of what a URL holds.
        quota_bytes: what all Bundles may take together; the cache may take as much.

    Raises:
        ConfigError: a URL that cannot be used.
        MissingExtraError: the URL needs a package that is not installed.
        StorageError: the folder cannot be made.
    """
    if "://" not in root and "::" not in root:
        return FolderBlobs(Path(root).expanduser().absolute(), quota_bytes)
    return ObjectBlobs(root, BundleCache(cache, quota_bytes), quota_bytes)


class ObjectBlobs:
    """Bundles behind a URL; implements `Blobs`. One Bundle is `URL/DIGEST/...`.

    Args:
        url: without credentials; they come from where the storage's own tools look for them.
        cache: copies on this machine.
        quota_bytes: what all Bundles may take together. Two machines that add at the same moment
            may pass it by one Bundle.

    Raises:
        ConfigError, MissingExtraError: the URL cannot be used.
    """

    def __init__(self, url: str, cache: BundleCache, quota_bytes: int = QUOTA_BYTES) -> None:
        self.url, self.cache, self.quota_bytes = url, cache, quota_bytes
        self._files, self._root = _file_system(url)

    def put(self, bundle: Bundle) -> Stored:
        """Keep a verified copy of a Bundle; see `Blobs`."""
        stored = self.cache.put(bundle)
        copy = check_bundle(self.cache.folder(stored.digest), stored.digest)
        manifest = read_manifest(copy)
        with self._errors():
            if not self.has(stored.digest) or not self._holds(copy):
                used = sum(self.sizes().values())
                check_quota(self.quota_bytes, used, stored, self.url)
                for name in copy.manifest.files:
                    self._files.put_file(str(copy.path / name), self._key(stored.digest, name))
                if not self._holds(copy):
                    raise StorageError(f"{self.url}: what was written does not read back the same.")
            self._files.pipe_file(self._key(stored.digest, MANIFEST), manifest)
        return stored

    def has(self, digest: str) -> bool:
        """Say whether a Bundle is here, whole."""
        with self._errors():
            return bool(self._files.exists(self._key(digest, MANIFEST)))

    def folder(self, digest: str) -> Path:
        """Return a Bundle's folder in the cache, fetched where need be; see `Blobs`."""
        try:
            check_bundle(self.cache.folder(digest), digest)
        except BundleError:  # not here yet, or damaged here
            bundle, manifest = self._manifest(digest)
            stored = Stored(digest, size_of(bundle, manifest))
            self.cache.fill(stored, lambda staged: self._fetch(digest, bundle, manifest, staged))
        return self.cache.folder(digest)

    def place(self, digest: str) -> Path:
        """Return where the cache will have a Bundle."""
        return self.cache.place(digest)

    def verify(self, digest: str) -> None:
        """Read every byte of a Bundle where it is kept; see `Blobs`."""
        bundle, _ = self._manifest(digest)
        with self._errors():
            for name, record in bundle.manifest.files.items():
                if not self._same(self._key(digest, name), record):
                    raise BundleError(
                        f"{self.url}: {name!r} of the Bundle {digest[:12]} is not what was put. "
                        "Restore it with 'clearsight registry restore BACKUP'."
                    )

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every Bundle here by its digest, unfinished ones included."""
        found: dict[str, int] = {}
        for digest, _, about in self._objects():
            found[digest] = found.get(digest, 0) + int(about.get("size") or 0)
        return found

    def collect(self, keep: Collection[str], grace_s: float = GRACE_S) -> Collected:
        """Remove Bundles that nothing refers to, their manifest first; see `Blobs`."""
        newest: dict[str, float] = {}
        sizes: dict[str, int] = {}
        keys: dict[str, list[str]] = {}
        for digest, key, about in self._objects():
            newest[digest] = max(newest.get(digest, 0.0), _written(about))
            sizes[digest] = sizes.get(digest, 0) + int(about.get("size") or 0)
            keys.setdefault(digest, []).append(key)
        now = time.time()
        doomed = [d for d in sorted(keys) if d not in keep and now - newest[d] >= grace_s]
        with self._errors():
            for digest in doomed:
                for key in sorted(keys[digest], key=lambda k: not k.endswith(f"/{MANIFEST}")):
                    self._files.rm(key)
        self.cache.collect(set(keys) - set(doomed) | set(keep), grace_s)
        return Collected(tuple(doomed), sum(sizes[digest] for digest in doomed))

    def _objects(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield (digest, key, facts) of every object that belongs to a Bundle."""
        with self._errors():
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                found = {}
        for key, about in sorted(found.items()):
            digest = key.removeprefix(self._root).lstrip("/").split("/", 1)[0]
            if DIGEST.fullmatch(digest):
                yield digest, key, about

    def _manifest(self, digest: str) -> tuple[Bundle, bytes]:
        with self._errors():
            key = self._key(digest, MANIFEST)
            if not self._files.exists(key):
                raise BundleError(
                    f"{self.url} has no Bundle {digest[:12]}. Restore it with 'clearsight registry "
                    "restore BACKUP', or add the Bundle again."
                )
            manifest = b"".join(self._chunks(key, MANIFEST_LIMIT_BYTES))
        if address(manifest) != digest:
            raise BundleError(f"{self.url}: the manifest of the Bundle {digest[:12]} was changed.")
        values = json.loads(manifest)
        values.pop("digest", None)
        return Bundle(Path(digest), Manifest.parse(values)), manifest

    def _fetch(self, digest: str, bundle: Bundle, manifest: bytes, staged: Path) -> None:
        (staged / MANIFEST).write_bytes(manifest)
        for name, record in bundle.manifest.files.items():
            target = staged / name
            if not target.resolve().is_relative_to(staged.resolve()):
                raise BundleError(f"A Bundle cannot hold a file named {name!r}.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._errors(), open(target, "xb") as out:
                for chunk in self._chunks(self._key(digest, name), record.size + 1):
                    out.write(chunk)

    def _holds(self, bundle: Bundle) -> bool:
        """Say whether every file but the manifest reads back as recorded."""
        digest = bundle.path.name
        return all(
            self._same(self._key(digest, name), record)
            for name, record in bundle.manifest.files.items()
        )

    def _same(self, key: str, record: FileRecord) -> bool:
        digest = hashlib.sha256()
        try:
            for chunk in self._chunks(key, record.size + 1):
                digest.update(chunk)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == record.sha256

    def _chunks(self, key: str, limit_bytes: int) -> Iterator[bytes]:
        with self._files.open(key, "rb") as stream:
            left = limit_bytes
            while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def _key(self, digest: str, name: str) -> str:
        return f"{self._root}/{self.cache.place(digest).name}/{name}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn whatever the storage's client raises into a StorageError without its details."""
        try:
            yield
        except ClearsightError:
            raise
        except Exception as error:
            raise StorageError(
                f"{self.url}: the object storage refused or did not answer "
                f"({type(error).__name__}). Check its address, its credentials and that it runs."
            ) from error


def _file_system(url: str) -> tuple[Any, str]:
    if importlib.util.find_spec("fsspec") is None:
        raise MissingExtraError("fsspec", EXTRA, f"A store at {url}")
    from fsspec.core import url_to_fs

    if "::" in url or "@" in url:
        raise ConfigError(
            f"{url.split('@')[-1]} cannot hold Bundles: give one plain URL such as "
            "s3://bucket/path, with the credentials where the storage's own tools look for them."
        )
    try:
        files, root = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise MissingExtraError(
            error.name or url.split(":")[0], EXTRA, f"A store at {url}"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{url} cannot hold Bundles: {error}. Allowed: a folder, s3://bucket/path, and what "
            "fsspec knows."
        ) from error
    return files, str(root).rstrip("/")


def _written(about: dict[str, Any]) -> float:
    """Return when an object was written, in seconds of the wall clock; now where it is not said."""
    for name in ("LastModified", "last_modified", "created", "mtime", "updated"):
        value = about.get(name)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return time.time()
