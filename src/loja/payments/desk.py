"""The desk that gives money back, which somebody may close: refunds fail until it is open again."""

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from loja.payments.tables import closed_desks

REFUNDS = "refunds"


class RefundsClosed(RuntimeError):
    """Nobody gives money back just now."""

    def __init__(self) -> None:
        super().__init__("the desk for refunds is closed: PUT /payments/refunds opens it")


def is_open(session: Session) -> bool:
    """Whether money is given back."""
    return session.execute(select(closed_desks).where(closed_desks.c.desk == REFUNDS)).first() is None


def ensure_open(session: Session) -> None:
    """Raises RefundsClosed."""
    if not is_open(session):
        raise RefundsClosed


def change(session: Session, *, to_open: bool) -> None:
    """Open or close it; twice is once."""
    if to_open:
        session.execute(delete(closed_desks).where(closed_desks.c.desk == REFUNDS))
    else:
        session.execute(insert(closed_desks).values(desk=REFUNDS).on_conflict_do_nothing())
