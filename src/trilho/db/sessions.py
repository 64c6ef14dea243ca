"""SQLAlchemy sessions that write what is pending with each of their commits, and drop it with each rollback."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection as AlchemyConnection
from sqlalchemy import event, text
from sqlalchemy.orm import Session, SessionTransaction

from trilho.db.pending import Execute, Pending, executor
from trilho.db.pool import Connection
from trilho.db.sql import for_sqlalchemy
from trilho.errors import TransactionError


def follow(session: Session, pending: Pending) -> Pending:
    """Let a SQLAlchemy session write `pending` with each of its commits; the same session is followed once."""
    known = session.info.get(_INFO)
    if isinstance(known, Pending) and known.database is pending.database:
        return known
    session.info[_INFO] = pending
    event.listen(session, "before_commit", _before_commit)
    event.listen(session, "after_commit", _after_commit)
    event.listen(session, "after_transaction_create", _transaction_begun)
    event.listen(session, "after_transaction_end", _transaction_ended)
    event.listen(session, "after_soft_rollback", _rolled_back)
    return pending


_INFO = "trilho"


def _pending_of(session: Session) -> Pending:
    pending: Pending = session.info[_INFO]
    return pending


def _before_commit(session: Session) -> None:
    pending = _pending_of(session)
    # Not in a savepoint: it may still be rolled back together with one around it, and rows from before it must not.
    if session.in_nested_transaction() or (pending.written == len(pending.rows) and pending.last is None):
        return
    session.flush()
    connection = session.connection()
    pending.write(alchemy_executor(connection))
    if pending.last is not None:
        pending.last(driver_connection(connection))
    pending.database.faults.hit("enqueue.before_commit")


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        _pending_of(session).database.faults.hit("enqueue.after_commit")
        _pending_of(session).committed()


def _transaction_begun(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        _pending_of(session).mark(transaction)


def _rolled_back(session: Session, transaction: SessionTransaction) -> None:
    # A flush that fails rolls back a transaction of its own, inside the savepoint that it really undoes.
    undone: SessionTransaction | None = transaction
    while undone is not None and not undone.nested:
        undone = undone.parent
    _pending_of(session).roll_back(undone)


def _transaction_ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        _pending_of(session).take()
        _pending_of(session).announced.clear()


def alchemy_executor(connection: AlchemyConnection) -> Execute:
    """Runs statements on a SQLAlchemy connection, whatever its driver; past it, if that is our own."""
    driver = driver_connection(connection)
    if isinstance(driver, psycopg.Connection):
        return executor(driver)

    def execute(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return connection.execute(text(for_sqlalchemy(statement)), dict(values)).fetchall()

    return execute


def driver_connection(connection: AlchemyConnection) -> Connection:
    """The psycopg connection under a SQLAlchemy connection."""
    raw: Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return raw


class OneCommit(Session):
    """The session of `app.transaction()`: its commit belongs to the end of the block."""

    def commit(self) -> None:
        """Commit at the end of the block; raises TransactionError before that."""
        if not self.info.get("trilho.committing"):
            raise TransactionError("app.transaction() commits at the end of its block: leave out session.commit()")
        super().commit()
