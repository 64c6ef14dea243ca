"""The stored sums of processed files: replaced as a whole, asked by region and month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from loja.sales.summary import Summary
from loja.sales.tables import sales_files, sales_totals
from loja.sales.totals import Group, Totals


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set comes from: the file, and the job that read it."""

    name: str
    origin: str
    job_id: str
    job_created_at: datetime


def replace(session: Session, source: Source, summary: Summary) -> bool:
    """Make the summary the data set of its file; False, and no change, if a job created later stored one already.

    Call it in a transaction that is short: it locks the data set of this name until the commit.
    """
    if not _take(session, source, summary):
        return False
    session.execute(delete(sales_totals).where(sales_totals.c.file == source.name))
    session.execute(insert(sales_totals), list(_rows(source.name, summary.totals)))
    return True


def _take(session: Session, source: Source, summary: Summary) -> bool:
    fresh = postgresql.insert(sales_files).values(
        name=source.name,
        job_id=source.job_id,
        job_created_at=source.job_created_at,
        origin=source.origin,
        accepted=summary.accepted,
        rejected=summary.rejects.count,
    )
    # The order of creation decides, not the order of finishing: a retry may finish hours after a newer job.
    # The same job may store again: an attempt whose end was lost is repeated.
    newest = tuple_(sales_files.c.job_created_at, sales_files.c.job_id) <= tuple_(
        fresh.excluded.job_created_at, fresh.excluded.job_id
    )
    changed = {column.name: column for column in fresh.excluded if column.name not in {"name", "stored_at"}}
    statement = fresh.on_conflict_do_update(
        index_elements=[sales_files.c.name], set_=changed | {"stored_at": func.now()}, where=newest
    ).returning(sales_files.c.name)
    return session.execute(statement).first() is not None


def _rows(name: str, totals: Totals) -> Sequence[dict[str, Any]]:
    return [
        {
            "file": name,
            "month": month,
            "region": region,
            "product": product,
            "sales": group.sales,
            "quantity": group.quantity,
            "amount": group.amount,
        }
        for (month, region, product), group in totals.groups.items()
    ]


@dataclass(frozen=True, slots=True)
class Answer:
    """What all data sets say about one region in one month; products by amount, the largest first."""

    files: int
    products: dict[str, Group]

    @property
    def overall(self) -> Group:
        """The sum of all products."""
        whole = Group()
        for group in self.products.values():
            whole.add(group.sales, group.quantity, group.amount)
        return whole


def ask(session: Session, region: str, month: str) -> Answer:
    """Sum over the data sets of all files."""
    chosen = (sales_totals.c.region == region, sales_totals.c.month == month)
    files = session.execute(select(func.count(sales_totals.c.file.distinct())).where(*chosen)).scalar_one()
    amount = func.sum(sales_totals.c.amount)
    by_product = (
        select(sales_totals.c.product, func.sum(sales_totals.c.sales), func.sum(sales_totals.c.quantity), amount)
        .where(*chosen)
        .group_by(sales_totals.c.product)
        .order_by(amount.desc(), sales_totals.c.product)
    )
    rows = session.execute(by_product)
    return Answer(files, {name: Group(int(sales), int(pieces), money) for name, sales, pieces, money in rows})
