"""Bundles by what they hold: the address is the SHA-256 of the manifest, which pins every file.

A Bundle comes in as a verified copy, appears whole or not at all, is never changed afterwards, and
leaves by garbage collection when nothing refers to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clearsight.core.bundle import (
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    Bundle,
    FileRecord,
    open_bundle,
)
from clearsight.core.errors import BundleError, StorageError
from clearsight.core.files import TEMPORARY_PREFIX, new_folder, remove_litter, storage_errors

QUOTA_BYTES = 50 * 10**9
GRACE_S = 3600.0
LOCK_FILE = ".lock"
LOCK_S = 120.0
CHUNK_BYTES = 1024 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Stored:
    """One Bundle in a store.

    Args:
        digest: its address, 64 hex digits.
        size_bytes: of all its files.
    """

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What a garbage collection removed."""

    digests: tuple[str, ...]
    freed_bytes: int


class Blobs(Protocol):
    """A store of Bundles by content. Thread-safe; processes may share it."""

    def put(self, bundle: Bundle) -> Stored:
        """Keep a verified copy of a Bundle; what is here already is verified and not copied.

        Raises:
            BundleError: a file changed while it was copied, or is a link.
            StorageError: no room in the quota or on the disk; nothing of it is left.
        """

    def has(self, digest: str) -> bool:
        """Say whether a Bundle is here, whole."""

    def folder(self, digest: str) -> Path:
        """Return a Bundle's folder on this machine, fetched where need be.

        Raises:
            BundleError: it is not here, or not what was put.
            StorageError: it cannot be fetched.
        """

    def place(self, digest: str) -> Path:
        """Return where `folder` will have a Bundle, without looking."""

    def verify(self, digest: str) -> None:
        """Read every byte of a Bundle where it is kept.

        Raises:
            BundleError: it is not here, or not what was put.
        """

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every Bundle here by its digest."""

    def collect(self, keep: Collection[str], grace_s: float = GRACE_S) -> Collected:
        """Remove Bundles that nothing refers to, and what interrupted puts left.

        Args:
            keep: digests that something refers to.
            grace_s: what was put less than these seconds ago stays: its reference may follow.
        """


class FolderBlobs:
    """Bundles in a folder of this machine; implements `Blobs`.

    Args:
        root: the folder, made where it is missing.
        quota_bytes: what all Bundles may take together.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, root: Path, quota_bytes: int = QUOTA_BYTES) -> None:
        self.root, self.quota_bytes = root, quota_bytes
        with storage_errors(root):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, bundle: Bundle) -> Stored:
        """Keep a verified copy of a Bundle; see `Blobs`."""
        manifest = read_manifest(bundle)
        stored = Stored(address(manifest), size_of(bundle, manifest))
        self.fill(stored, lambda staged: copy_bundle(bundle, manifest, staged))
        return stored

    def fill(self, stored: Stored, write: Callable[[Path], None]) -> None:
        """Have a Bundle written, verified and put in its place, all or nothing.

        Args:
            stored: its address and size.
            write: fills the empty folder it is given.

        Raises:
            BundleError: what was written is not what the address says.
            StorageError: no room; nothing of it is left.
        """
        place = self.place(stored.digest)

        def verified(staged: Path) -> None:
            check_bundle(staged, stored.digest)

        with self._locked():
            remove_litter(self.root)
            if place.exists() and self._touched(stored.digest):
                return
            self._make_room(stored)
            with new_folder(place, before_rename=verified) as staged:
                write(staged)

    def has(self, digest: str) -> bool:
        """Say whether a Bundle is here, whole."""
        return (self.place(digest) / MANIFEST).is_file()

    def folder(self, digest: str) -> Path:
        """Return a Bundle's folder; see `Blobs`."""
        if not self.has(digest):
            raise BundleError(
                f"The store {self.root} has no Bundle {digest[:12]}. Restore it with 'clearsight "
                "registry restore BACKUP', or add the Bundle again."
            )
        return self.place(digest)

    def place(self, digest: str) -> Path:
        """Return where a Bundle stands if it is here."""
        if not DIGEST.fullmatch(digest):
            raise StorageError(f"{digest!r} is no address of a Bundle (64 hex digits).")
        return self.root / digest

    def verify(self, digest: str) -> None:
        """Read every byte of a Bundle; see `Blobs`."""
        check_bundle(self.folder(digest), digest)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every Bundle here by its digest."""
        with storage_errors(self.root):
            return {
                entry.name: _tree_bytes(Path(entry.path))
                for entry in os.scandir(self.root)
                if DIGEST.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            }

    def collect(self, keep: Collection[str], grace_s: float = GRACE_S) -> Collected:
        """Remove Bundles that nothing refers to; see `Blobs`."""
        removed, freed = [], 0
        with self._locked(), storage_errors(self.root):
            remove_litter(self.root)
            for digest, size in sorted(self.sizes().items()):
                age_s = time.time() - self.place(digest).stat().st_mtime
                if digest not in keep and age_s >= grace_s:
                    self._discard(digest)
                    removed.append(digest)
                    freed += size
        return Collected(tuple(removed), freed)

    def _make_room(self, stored: Stored) -> None:
        check_quota(self.quota_bytes, sum(self.sizes().values()), stored, str(self.root))

    def _touched(self, digest: str) -> bool:
        """Renew the grace time of what is here; False where it was damaged and is gone now."""
        try:
            check_bundle(self.place(digest), digest)
        except BundleError:
            self._discard(digest)
            return False
        with storage_errors(self.place(digest)):
            os.utime(self.place(digest))
        return True

    def _discard(self, digest: str) -> None:
        """Take a Bundle away: it is gone at once, or still whole."""
        doomed = self.root / f"{TEMPORARY_PREFIX}{digest[:12]}-{uuid.uuid4().hex[:12]}"
        with storage_errors(self.place(digest)):
            os.rename(self.place(digest), doomed)
            if doomed.is_symlink():
                doomed.unlink()
            else:
                shutil.rmtree(doomed)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store for one writer of this machine; a killed one lets go by itself."""
        with storage_errors(self.root / LOCK_FILE):
            descriptor = os.open(
                self.root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        try:
            _wait_for(descriptor, self.root)
            yield
        finally:
            os.close(descriptor)


class BundleCache(FolderBlobs):
    """Copies of Bundles kept elsewhere; what was used least recently makes room."""

    def __init__(self, root: Path, quota_bytes: int = QUOTA_BYTES) -> None:
        super().__init__(root, quota_bytes)
        self._given: set[str] = set()

    def folder(self, digest: str) -> Path:
        """Return a Bundle's folder, which stays while this process lives."""
        found = super().folder(digest)
        self._given.add(digest)
        with storage_errors(found):
            os.utime(found)
        return found

    def _make_room(self, stored: Stored) -> None:
        sizes = self.sizes()
        with storage_errors(self.root):
            oldest = sorted(sizes.keys() - self._given, key=lambda d: self.place(d).stat().st_mtime)
            for digest in oldest:
                if sum(sizes.values()) + stored.size_bytes <= self.quota_bytes:
                    break
                self._discard(digest)
                del sizes[digest]
        check_quota(self.quota_bytes, sum(sizes.values()), stored, str(self.root))


def read_manifest(bundle: Bundle) -> bytes:
    """Return the bytes of a Bundle's manifest as they are on the disk."""
    with storage_errors(bundle.path / MANIFEST):
        descriptor = os.open(bundle.path / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            return stream.read(MANIFEST_LIMIT_BYTES)


def address(manifest: bytes) -> str:
    """Return a Bundle's address: the SHA-256 of its manifest's bytes, 64 hex digits."""
    return hashlib.sha256(manifest).hexdigest()


def size_of(bundle: Bundle, manifest: bytes) -> int:
    """Return the bytes of all files of a Bundle."""
    return len(manifest) + sum(record.size for record in bundle.manifest.files.values())


def check_bundle(folder: Path, digest: str) -> Bundle:
    """Read every byte of a folder and return the Bundle, if it is the one of this address.

    Raises:
        BundleError: it is not, or is a link.
    """
    if folder.is_symlink():
        raise BundleError(f"{folder} is a link; a store holds plain folders.")
    bundle = open_bundle(folder)
    if bundle.path != folder or address(read_manifest(bundle)) != digest:
        raise BundleError(
            f"{folder}: the Bundle is not the one that was put here. Restore it with 'clearsight "
            "registry restore BACKUP', or add the Bundle again."
        )
    return bundle


def check_quota(quota_bytes: int, used_bytes: int, stored: Stored, where: str) -> None:
    """Refuse what would not fit.

    Raises:
        StorageError: it would not.
    """
    if used_bytes + stored.size_bytes > quota_bytes:
        raise StorageError(
            f"{where} may hold {quota_bytes / 1e9:g} GB and holds {used_bytes / 1e9:.3g} GB; this "
            f"Bundle has {stored.size_bytes / 1e6:.3g} MB. Remove versions that are not needed "
            "with 'clearsight registry remove' and 'clearsight registry gc', or raise --quota."
        )


def copy_bundle(bundle: Bundle, manifest: bytes, target: Path) -> None:
    """Copy a Bundle's files into an empty folder, each hashed on the way.

    Raises:
        BundleError: a file is not what the manifest says.
    """
    for name, record in bundle.manifest.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy_file(bundle.path / name, target / name, record)
    with open(target / MANIFEST, "xb", opener=_private) as stream:
        stream.write(manifest)


def copy_file(source: Path, target: Path, record: FileRecord) -> None:
    """Copy one file; a link or another content than recorded is refused.

    Raises:
        BundleError: it is not what was recorded.
    """
    digest, left = hashlib.sha256(), record.size
    with storage_errors(source):
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream, open(target, "xb", opener=_private) as out:
        while chunk := stream.read(min(CHUNK_BYTES, left + 1)):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
            if left < 0:
                break
    if left != 0 or digest.hexdigest() != record.sha256:
        raise BundleError(f"{source} changed while it was copied. Try again.")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _tree_bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(root, name)).st_size for name in names)
    return total


def _wait_for(descriptor: int, root: Path) -> None:
    until = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise StorageError(
                    f"{root}: another process has been writing for {LOCK_S:.0f} s. Stop it or "
                    "try again."
                ) from error
            time.sleep(0.02)
        else:
            return
