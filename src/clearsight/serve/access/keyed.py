"""The door: which key a request shows, what it may do, and whether it may do that much now.

Keys are held in memory and read again within `POLL_S` of a change, so a request asks no database
and a revoked key ends everywhere within a second. A store that cannot be read for `STALE_S` closes
the door, because nobody could revoke anything.
"""

from __future__ import annotations

import hmac
import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clearsight.serve import log
from clearsight.serve.access.caller import KEY_NEEDED, NOBODY, Caller
from clearsight.serve.access.clock import Clock
from clearsight.serve.access.quotas import Ledger, Quotas
from clearsight.serve.access.rates import Bucket, WrongKeys
from clearsight.serve.access.terms import Allowance
from clearsight.serve.access.tokens import digest, id_of
from clearsight.serve.errors import NotReadyError, QuotaError, UnauthorizedError
from clearsight.serve.repeating import Repeating

if TYPE_CHECKING:
    from clearsight.serve.access.keys import Key
    from clearsight.serve.store.database import Database

POLL_S = 0.25
FLUSH_S = 1.0
STALE_S = 60.0
FORGET_S = 6 * 3600.0


class Keys(Protocol):
    """Where keys are kept; `keys.KeyStore`."""

    def revision(self) -> int:
        """Return a number that grows with every change."""

    def keys(self) -> list[Key]:
        """Return every key that has not ended."""

    def end_expired(self) -> int:
        """Mark what has expired; return how many."""


@dataclass(frozen=True, slots=True)
class _Held:
    digest: bytes
    expires: float
    caller: Caller


class KeyedAccess:
    """The `Access` of a service with keys: knows every key, counts what each account uses.

    Thread-safe.

    Args:
        keys: where keys are kept.
        ledger: where used pictures are kept.
        clock: for rates, quotas and expiry.
        watch: read changes and write counts in the background until `close`.

    Attributes:
        knows_keys: the store has, or ever had, a key; every change of one raises its revision.

    Raises:
        StorageError: the store cannot be read.

    Example:
        >>> access = open_access(store_folder())  # doctest: +SKIP
        >>> caller = access.caller(presented(authorization, ""), "192.0.2.7")  # doctest: +SKIP
        >>> caller.require("recognize")  # doctest: +SKIP
        >>> access.charge(caller, pictures=3)  # doctest: +SKIP
    """

    def __init__(
        self, keys: Keys, ledger: Ledger, clock: Clock | None = None, watch: bool = True
    ) -> None:
        self._clock = clock or Clock()
        self._store = keys
        self._quotas = Quotas(ledger, self._clock)
        self._wrong = WrongKeys(self._clock.elapsed)
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._held: dict[str, _Held] = {}
        self._allowances: dict[str, Allowance] = {}
        self._nothing = _Held(secrets.token_bytes(32), 0.0, NOBODY)
        self._revision, self._fresh = -1, 0.0
        self.knows_keys = False
        self._next_end = math.inf
        self._forgets = 0.0
        self._on_close: list[Callable[[], None]] = []
        self.refresh()
        self._repeating = [
            Repeating(work, every_s, "clearsight-access", "the store of keys cannot be used")
            for work, every_s in ((self.refresh, POLL_S), (self._write, FLUSH_S))
            if watch
        ]

    def caller(self, token: str | None, address: str) -> Caller:
        """Return who shows a key.

        A key that is malformed, unknown, revoked or expired is refused in the same words, after the
        same work.

        Args:
            token: from `tokens.presented`; None where the request shows no key.
            address: the client's IP address.

        Returns:
            The key's `Caller`; `NOBODY` where no key was shown.

        Raises:
            UnauthorizedError: a key that is not valid.
            QuotaError: the same, after too many of them from this address.
            NotReadyError: the store has not been readable for `STALE_S`.
        """
        if token is None:
            return NOBODY
        if self._clock.elapsed() - self._fresh > STALE_S:
            raise NotReadyError("Keys cannot be checked at the moment. Try again later.")
        key_id = id_of(token)
        held = self._held.get(key_id or "", self._nothing)
        same = hmac.compare_digest(digest(token), held.digest)
        current = self._clock.latest() < held.expires
        if key_id is not None and same and current:
            return held.caller
        wait = self._wrong.count(address)
        if wait:
            raise QuotaError(f"Too many wrong keys came from this address. {KEY_NEEDED}", wait)
        raise UnauthorizedError(KEY_NEEDED)

    def charge(self, caller: Caller, pictures: int) -> None:
        """Count pictures that a caller sends, all of them or none.

        Args:
            caller: from `caller`; without a key nothing is counted.
            pictures: at least 1.

        Raises:
            QuotaError: faster than the key's rate, or more than its quota; it says when to retry.
            UnauthorizedError: the key ended in the meantime.
        """
        if not caller.id:
            return
        with self._lock:
            allowance = self._allowances.get(caller.id)
            if allowance is None:
                raise UnauthorizedError(KEY_NEEDED)
            now = self._clock.elapsed()
            bucket = self._bucket(caller.id, allowance, now)
            wait = bucket.wait_s(pictures, now) if bucket else 0.0
            if wait:
                shown = _rate_words(allowance.rate or 0.0)
                raise QuotaError(f"The key's rate of pictures is {shown}. Send more slowly.", wait)
            self._quotas.charge(caller.id, allowance, pictures)
            if bucket:
                bucket.take(pictures, now)

    def give_back(self, caller: Caller, pictures: int) -> None:
        """Take back a `charge` for pictures that the service itself refused."""
        if not caller.id:
            return
        with self._lock:
            if bucket := self._buckets.get(caller.id):
                bucket.put_back(pictures)
            self._quotas.give_back(caller.id, pictures)

    def used(self, caller: Caller) -> tuple[int, int]:
        """Return the pictures a caller's account has sent today and this month (UTC)."""
        return self._quotas.used(caller.id)

    def refresh(self) -> None:
        """Read the keys again if any changed.

        Raises:
            StorageError: the store cannot be read; the keys that are known stay.
        """
        with self._reading:
            began = self._clock.elapsed()
            revision = self._store.revision()
            if revision != self._revision:
                self._take(self._store.keys())
                self._revision = revision
                self.knows_keys = self.knows_keys or revision > 0
            self._fresh = began

    def flush(self) -> None:
        """Write used pictures, and mark keys that have expired.

        Raises:
            StorageError: the store cannot be written; nothing counted is lost.
        """
        self._quotas.flush()
        if self._clock.latest() >= self._next_end:
            self._store.end_expired()
            self.refresh()

    def close(self) -> None:
        """Stop reading changes and write what was counted."""
        for each in self._repeating:
            each.close()
        try:
            self._quotas.flush()
        except Exception as error:  # noqa: BLE001 - a stop goes on; what is lost is in the log
            log.failure("used pictures could not be written", error)
        for close in self._on_close:
            close()

    def _take(self, keys: list[Key]) -> None:
        held, allowances = {}, {}
        for key in keys:  # oldest first: the newest of an account says what it may use
            caller = Caller(key.account, key.tenant, key.scopes)
            expires = math.inf if key.expires is None else key.expires
            held[key.id] = _Held(key.secret_sha256, expires, caller)
            allowances[key.account] = key.allowance
        with self._lock:
            self._held, self._allowances = held, allowances
            self._next_end = min((key.expires for key in held.values()), default=math.inf)
            self._buckets = {a: b for a, b in self._buckets.items() if a in allowances}

    def _bucket(self, account: str, allowance: Allowance, now: float) -> Bucket | None:
        if allowance.rate is None:
            return None
        bucket = self._buckets.get(account)
        if bucket is None or bucket.per_s != allowance.rate:
            bucket = self._buckets[account] = Bucket(allowance.rate, allowance.burst, now)
        return bucket

    def _write(self) -> None:
        self.flush()
        if self._clock.elapsed() >= self._forgets:
            self._quotas.forget()
            self._forgets = self._clock.elapsed() + FORGET_S


def open_access(store_folder: Path, database: Database | None = None) -> KeyedAccess:
    """Return the door that the keys of a store open; SQLAlchemy is imported here.

    Args:
        store_folder: from `store.place.store_folder`.
        database: the store's, where it is open already; else it is opened, and closed with `close`.

    Raises:
        StorageError: the store cannot be used.
    """
    from clearsight.serve.access.keys import KeyStore
    from clearsight.serve.access.usage import UsageStore
    from clearsight.serve.store import database as databases
    from clearsight.serve.store.place import database_url

    opened = database or databases.Database(database_url(store_folder))
    clock = Clock()
    access = KeyedAccess(KeyStore(opened, clock), UsageStore(opened), clock)
    if database is None:
        access._on_close.append(opened.close)
    return access


def _rate_words(rate: float) -> str:
    return f"{rate:g}/s" if rate >= 1 else f"{rate * 60:g}/min"
