"""Who did which administrative act when: rows that are only added, each chained to the one before.

Every row holds the hash of its own words and of the row before it. Whoever changes, removes or
exchanges a row without recomputing all that follow is found, and where. Triggers refuse changes
that come through SQL. Somebody who may write the database and recomputes the whole chain is found
only by whoever kept an earlier head: `AuditLog.head` gives it, `AuditLog.verify` takes it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Connection,
    Integer,
    Table,
    Text,
    event,
    insert,
    select,
    update,
)

from clearsight.serve.store.database import METADATA, Database, Schema

BEGINNING = "0" * 64

entries = Table(
    "clearsight_audit",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
last = Table(
    "clearsight_audit_head",
    METADATA,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)
AUDIT = Schema("audit", 1, (entries, last))

ONLY_ADDED = "the audit log is only added to"
TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER clearsight_audit_kept BEFORE DELETE ON clearsight_audit "
        f"BEGIN SELECT RAISE(ABORT, '{ONLY_ADDED}'); END",
        f"CREATE TRIGGER clearsight_audit_unchanged BEFORE UPDATE ON clearsight_audit "
        f"BEGIN SELECT RAISE(ABORT, '{ONLY_ADDED}'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION clearsight_audit_refuse() RETURNS trigger LANGUAGE plpgsql "
        f"AS 'BEGIN RAISE EXCEPTION ''{ONLY_ADDED}''; END'",
        "CREATE TRIGGER clearsight_audit_kept BEFORE UPDATE OR DELETE ON clearsight_audit "
        "FOR EACH ROW EXECUTE FUNCTION clearsight_audit_refuse()",
    ),
}
for _dialect, _statements in TRIGGERS.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(entries, "after_create", _ddl.execute_if(dialect=_dialect))


@event.listens_for(last, "after_create")
def _begin(_target: Table, connection: Connection, **_: Any) -> None:
    connection.execute(insert(last).values(one=1, seq=0, hash=BEGINNING))


@dataclass(frozen=True, slots=True)
class Entry:
    """One act.

    Args:
        seq: 1, 2, 3 ...
        at_ms: milliseconds since 1970 on the wall clock.
        actor: who: "user:NAME" of the machine, or "key ID".
        action: what, for example "key.revoke".
        subject: to what, for example a key's id.
        detail: JSON with sorted names; never a secret.
        previous: the hash of the entry before.
        hash: of all the above.
    """

    seq: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str
    previous: str
    hash: str

    def expected_hash(self) -> str:
        """Return what `hash` must be."""
        who = (self.seq, self.at_ms, self.actor, self.action, self.subject)
        words = [*who, self.detail, self.previous]
        return hashlib.sha256(json.dumps(words).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: keep it elsewhere, and a rewritten log is found out.

    Args:
        seq: of the last entry; 0 where there is none.
        hash: of the last entry.
    """

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where the log is not what was written.

    Args:
        seq: of the entry.
        what: happened to it.
    """

    seq: int
    what: str


class AuditLog:
    """Adds entries inside the transaction of the act itself, and proves that none was changed.

    Args:
        database: where it is kept.
        wall: seconds since 1970.
    """

    def __init__(self, database: Database, wall: Callable[[], float] = time.time) -> None:
        database.prepare(AUDIT)
        self._database, self._wall = database, wall

    def add(
        self,
        connection: Connection,
        actor: str,
        action: str,
        subject: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an entry; see `record`."""
        record(connection, actor, action, subject, detail, self._wall)

    def entries(self, newest: int | None = None) -> list[Entry]:
        """Return entries, oldest first; with `newest`, only so many of the end."""
        with self._database.reading() as connection:
            if newest is None:
                return list(_all(connection))
            query = select(entries).order_by(entries.c.seq.desc()).limit(newest)
            return [Entry(*row) for row in reversed(connection.execute(query).all())]

    def head(self) -> Head:
        """Return the end of the log."""
        with self._database.reading() as connection:
            return Head(*connection.execute(select(last.c.seq, last.c.hash)).one())

    def verify(self, known: Head | None = None) -> Fault | None:
        """Return the first entry that was changed, removed or exchanged; None where all hold.

        Args:
            known: an earlier `head`; the log must still pass through it.
        """
        with self._database.reading() as connection:
            head = Head(*connection.execute(select(last.c.seq, last.c.hash)).one())
            return find_fault(_all(connection), head, known)


def record(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
    wall: Callable[[], float] = time.time,
) -> None:
    """Add an entry; it stands or falls with the transaction, which makes other writers wait.

    Args:
        connection: of a `Database.transaction`, after `Database.prepare(AUDIT)`.
        actor, action, subject: see `Entry`.
        detail: plain values; never a secret.
        wall: seconds since 1970.
    """
    connection.execute(update(last).values(seq=last.c.seq + 1))  # others wait from here on
    seq, previous = connection.execute(select(last.c.seq, last.c.hash)).one()
    words = json.dumps(dict(detail or {}), sort_keys=True, separators=(",", ":"))
    entry = Entry(int(seq), int(wall() * 1000), actor, action, subject, words, previous, "")
    values = {**asdict(entry), "hash": entry.expected_hash()}
    connection.execute(insert(entries).values(values))
    connection.execute(update(last).values(hash=values["hash"]))


def find_fault(rows: Iterator[Entry], head: Head, known: Head | None = None) -> Fault | None:
    """Return the first fault of a chain; see `AuditLog.verify`."""
    before = Head(0, BEGINNING)
    unlinked = False  # the entry before does not fit to the one before it
    for entry in rows:
        if entry.seq != before.seq + 1:
            return Fault(before.seq + 1, "it is missing")
        linked = entry.previous == before.hash
        if unlinked:
            return Fault(before.seq - 1 if linked else before.seq, "it was exchanged")
        if entry.expected_hash() != entry.hash:
            return Fault(entry.seq, "it was changed")
        if not linked and not before.seq:
            return Fault(entry.seq, "it was exchanged")
        if known is not None and entry.seq == known.seq and entry.hash != known.hash:
            return Fault(entry.seq, "it is not the one of the given head")
        unlinked, before = not linked, Head(entry.seq, entry.hash)
    if unlinked:
        return Fault(before.seq - 1 if head == before else before.seq, "it was exchanged")
    if head.seq > before.seq or (known is not None and known.seq > before.seq):
        return Fault(before.seq + 1, "it is missing")
    return None if head == before else Fault(before.seq, "it is not the end that was recorded")


def this_user() -> str:
    """Return the actor of a command line: "user:NAME"."""
    try:
        return f"user:{getpass.getuser()}"
    except (OSError, KeyError):
        return "user:unknown"


def _all(connection: Connection) -> Iterator[Entry]:
    query = select(entries).order_by(entries.c.seq).execution_options(yield_per=1000)
    return (Entry(*row) for row in connection.execute(query))
