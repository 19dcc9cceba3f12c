"""How many pictures each account has sent, by day and month, kept across restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import BigInteger, Column, Table, Text, func, insert, select, update

from clearsight.serve.access.quotas import Slot
from clearsight.serve.store.database import METADATA, Database, Schema

OWNER = "usage"
DAY_LENGTH, MONTH_LENGTH = len("2026-01-31"), len("2026-01")

usage = Table(
    "clearsight_usage",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("pictures", BigInteger, nullable=False),
)
USAGE = Schema(OWNER, 1, (usage,))


class UsageStore:
    """Adds up what every process has counted; see `quotas.Ledger`.

    Args:
        database: where it is kept.
    """

    def __init__(self, database: Database) -> None:
        database.prepare(USAGE)
        self._database = database

    def add(self, amounts: Mapping[Slot, int]) -> dict[Slot, int]:
        """Add pictures to accounts and periods; return the totals of those, all processes'.

        Raises:
            StorageError: nothing was added.
        """
        totals: dict[Slot, int] = {}
        with self._database.transaction(OWNER) as connection:
            for (account, period), pictures in sorted(amounts.items()):
                row = (usage.c.account == account) & (usage.c.period == period)
                more = update(usage).where(row).values(pictures=usage.c.pictures + pictures)
                if not connection.execute(more).rowcount:
                    values = {"account": account, "period": period, "pictures": pictures}
                    connection.execute(insert(usage).values(values))
                total = connection.execute(select(usage.c.pictures).where(row)).scalar_one()
                totals[account, period] = int(total)
        return totals

    def totals(self, periods: Iterable[str]) -> dict[Slot, int]:
        """Return what every account has sent in some periods.

        Raises:
            StorageError: it cannot be read.
        """
        query = select(usage).where(usage.c.period.in_(list(periods)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {(row.account, row.period): int(row.pictures) for row in rows}

    def forget(self, first_day: str, first_month: str) -> None:
        """Remove what is older than a day ("2026-01-31") and a month ("2026-01")."""
        length = func.length(usage.c.period)
        old_day = (length == DAY_LENGTH) & (usage.c.period < first_day)
        old_month = (length == MONTH_LENGTH) & (usage.c.period < first_month)
        with self._database.transaction(OWNER) as connection:
            connection.execute(usage.delete().where(old_day | old_month))
