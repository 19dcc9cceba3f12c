"""API keys in the store: made, listed, rotated, revoked; each act is in the audit log.

Of a key only the SHA-256 is kept. A rotated key and its successor are one account: they share
quota and rate, and the old one ends after a time of grace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    Row,
    Table,
    Text,
    insert,
    or_,
    select,
    update,
)

from clearsight.core.errors import ConfigError, nearest
from clearsight.serve.access.audit import AuditLog
from clearsight.serve.access.clock import Clock
from clearsight.serve.access.terms import Allowance, check_name, check_scopes, check_tenant
from clearsight.serve.access.tokens import digest, id_of, new_token
from clearsight.serve.store.database import METADATA, Database, Schema

OWNER = "access"
NAMES_SHOWN = 20
LONGEST_S = 100 * 366 * 86400.0
State = Literal["active", "grace", "expired", "revoked"]

keys = Table(
    "clearsight_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False, index=True),
    Column("name", Text, nullable=False, index=True),
    Column("tenant", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("secret_sha256", Text, nullable=False),
    Column("rate", Float),
    Column("quota_day", BigInteger),
    Column("quota_month", BigInteger),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("successor", Text),
    Column("ended", Float),
    Column("ended_as", Text),
)
ACCESS = Schema(OWNER, 1, (keys,))


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; the key itself is not.

    Args:
        id: its public part.
        account: the id of the first key of its line.
        name: what it is for.
        tenant: whose it is; "" for the default one.
        scopes: what it may do.
        allowance: how much of it.
        created, expires: seconds since 1970; None where it does not expire.
        secret_sha256: of its whole text.
        successor: the id of the key that replaces it, after a rotation.
        ended: when it was revoked, or seen to be expired.
        ended_as: "revoked" or "expired".
    """

    id: str
    account: str
    name: str
    tenant: str
    scopes: frozenset[str]
    allowance: Allowance
    created: float
    expires: float | None
    secret_sha256: bytes = field(repr=False)
    successor: str | None = None
    ended: float | None = None
    ended_as: str | None = None

    def state(self, now: float) -> State:
        """Return what it is at a time, in seconds since 1970."""
        if self.ended is not None:
            return "revoked" if self.ended_as == "revoked" else "expired"
        if self.expires is not None and self.expires <= now:
            return "expired"
        return "grace" if self.successor else "active"

    def about(self) -> dict[str, Any]:
        """Return everything but the hash as plain values, for lists and the audit log."""
        return {
            "id": self.id,
            "account": self.account,
            "name": self.name,
            "tenant": self.tenant,
            "scopes": sorted(self.scopes),
            "rate": self.allowance.rate,
            "quota": {"day": self.allowance.day, "month": self.allowance.month},
            "created": shown_time(self.created),
            "expires": shown_time(self.expires),
            "successor": self.successor,
        }


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key, the only time that its text is seen.

    Args:
        key: what the store keeps.
        token: its text, for its owner alone.
    """

    key: Key
    token: str = field(repr=False)


class KeyStore:
    """The keys of one store. Thread-safe; several processes may use one database.

    Args:
        database: where they are kept.
        clock: tells when a key expires.

    Raises:
        StorageError: the database cannot be used, or a newer clearsight wrote it.
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database, self._clock = database, clock or Clock()
        database.prepare(ACCESS)
        self.audit = AuditLog(database, self._clock.wall)

    def revision(self) -> int:
        """Return a number that grows with every change of a key; one small query."""
        return self._database.revision(OWNER)

    def keys(self, ended: bool = False) -> list[Key]:
        """Return the keys that have not ended, or all of them, oldest first."""
        query = select(keys).order_by(keys.c.created, keys.c.id)
        if not ended:
            query = query.where(keys.c.ended.is_(None))
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(query)]

    def create(
        self,
        name: str,
        scopes: Iterable[str] = ("recognize",),
        tenant: str = "",
        allowance: Allowance | None = None,
        expires: float | None = None,
        actor: str = "",
    ) -> Issued:
        """Make a key.

        Args:
            name: what it is for; no other key that is valid may have it.
            scopes: see `SCOPES`.
            tenant: whose it is.
            allowance: how many pictures it may send; any number where None.
            expires: seconds since 1970; never where None.
            actor: who makes it, for the audit log.

        Raises:
            ConfigError: a name that is taken, an unknown scope, an end in the past.
            StorageError: nothing was made.
        """
        now = self._clock.latest()
        if expires is not None and not now < expires < now + LONGEST_S:
            raise ConfigError("A key ends in the future, within 100 years.")
        name, tenant, granted = check_name(name), check_tenant(tenant), check_scopes(scopes)
        with self._database.transaction(OWNER) as connection:
            if _valid(connection, now, keys.c.name == name):
                raise ConfigError(
                    f"A valid key is called {name!r} already. Choose another name, or rotate it."
                )
            key_id, token = new_token()
            terms = (name, tenant, frozenset(granted), allowance or Allowance(), now, expires)
            issued = Issued(Key(key_id, key_id, *terms, digest(token)), token)
            self._insert(connection, issued.key, actor, "key.create")
        return issued

    def rotate(self, which: str, grace_s: float, actor: str = "") -> Issued:
        """Make a successor with the same terms; the old key ends after a time of grace.

        Args:
            which: a key's id or name.
            grace_s: seconds in which both are valid; 0 ends the old one at once.
            actor: who does it, for the audit log.

        Returns:
            The successor. It lives as long as the old key was meant to from its making.

        Raises:
            ConfigError: no such valid key, or one that has a successor already.
            StorageError: nothing was changed.
        """
        if grace_s < 0:
            raise ConfigError(f"The grace is a time from 0 on; got {grace_s:g} s.")
        now = self._clock.latest()
        with self._database.transaction(OWNER) as connection:
            found = self._find(connection, which, now)
            old = next((key for key in found if key.successor is None), None)
            if old is None:
                raise ConfigError(f"It was rotated already; its successor is {found[0].successor}.")
            key_id, token = new_token()
            ends = None if old.expires is None else now + old.expires - old.created
            terms = (old.name, old.tenant, old.scopes, old.allowance, now, ends)
            issued = Issued(Key(key_id, old.account, *terms, digest(token)), token)
            last = now + grace_s if old.expires is None else min(old.expires, now + grace_s)
            values = {"successor": key_id, "expires": last}
            connection.execute(update(keys).where(keys.c.id == old.id).values(values))
            if grace_s == 0:
                _end(connection, [old.id], now, "revoked")
            self._insert(connection, issued.key, actor, "key.rotate", old=old.id, grace_s=grace_s)
        return issued

    def revoke(self, which: str, actor: str = "") -> list[Key]:
        """End a key at once; by name, every valid key of that name.

        Args:
            which: a key's id or name.
            actor: who does it, for the audit log.

        Returns:
            What was revoked.

        Raises:
            ConfigError: no such valid key.
            StorageError: nothing was changed.
        """
        now = self._clock.latest()
        with self._database.transaction(OWNER) as connection:
            found = self._find(connection, which, now)
            _end(connection, [key.id for key in found], now, "revoked")
            for key in found:
                self.audit.add(connection, actor, "key.revoke", key.id, {"name": key.name})
        return found

    def end_expired(self) -> int:
        """Mark what has expired, so that it stays so when the clock goes back; return how many."""
        now = self._clock.latest()
        late = (keys.c.ended.is_(None)) & (keys.c.expires <= now)
        with self._database.transaction(OWNER) as connection:
            found = [row.id for row in connection.execute(select(keys.c.id).where(late))]
            _end(connection, found, now, "expired")
        return len(found)

    def _insert(
        self, connection: Connection, key: Key, actor: str, action: str, **more: Any
    ) -> None:
        connection.execute(
            insert(keys).values(
                id=key.id,
                account=key.account,
                name=key.name,
                tenant=key.tenant,
                scopes=" ".join(sorted(key.scopes)),
                secret_sha256=key.secret_sha256.hex(),
                rate=key.allowance.rate,
                quota_day=key.allowance.day,
                quota_month=key.allowance.month,
                created=key.created,
                expires=key.expires,
            )
        )
        self.audit.add(connection, actor, action, key.id, {**key.about(), **more})

    def _find(self, connection: Connection, which: str, now: float) -> list[Key]:
        """Return the valid keys of an id or a name; whoever pastes a whole key means its id."""
        asked = id_of(which.strip()) or which.strip()
        for column in (keys.c.id, keys.c.name):
            if found := _valid(connection, now, column == asked):
                return found
        names = {key.name for key in _valid(connection, now)}
        few = nearest(asked[:80], names) if len(names) <= NAMES_SHOWN else ""
        hint = few or " 'clearsight keys list' shows what there is."
        raise ConfigError(f"No valid key has this id or name.{hint}")


def shown_time(at: float | None) -> str | None:
    """Return seconds since 1970 as a person reads them, in UTC.

    Example:
        >>> shown_time(0.0)
        '1970-01-01T00:00:00Z'
    """
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _valid(connection: Connection, now: float, *only: ColumnElement[bool]) -> list[Key]:
    """Return the keys that are valid at a time, oldest first."""
    current = or_(keys.c.expires.is_(None), keys.c.expires > now)
    query = select(keys).where(keys.c.ended.is_(None), current, *only)
    return [_key(row) for row in connection.execute(query.order_by(keys.c.created, keys.c.id))]


def _end(connection: Connection, ids: list[str], now: float, how: str) -> None:
    for key_id in ids:
        values = {"ended": now, "ended_as": how}
        connection.execute(update(keys).where(keys.c.id == key_id).values(values))


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        account=row.account,
        name=row.name,
        tenant=row.tenant,
        scopes=frozenset(row.scopes.split()),
        allowance=Allowance(row.rate, row.quota_day, row.quota_month),
        created=row.created,
        expires=row.expires,
        secret_sha256=bytes.fromhex(row.secret_sha256),
        successor=row.successor,
        ended=row.ended,
        ended_as=row.ended_as,
    )
