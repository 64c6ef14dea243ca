"""Transactions that carry jobs: what is enqueued inside is written just before the commit, or not at all."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from sqlalchemy import Connection as AlchemyConnection
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from trilho.db.pool import Connection, Database
from trilho.db.sql import for_sqlalchemy
from trilho.errors import TransactionError

Row = Any


class Sink(Protocol):
    """Where one kind of row goes: one statement for all rows of a transaction, one call after the commit."""

    statement: str

    def parameters(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """What the statement is run with."""
        ...

    def check(self, rows: Sequence[Row], returned: Sequence[Sequence[Any]]) -> None:
        """Look at what the statement returned; an error raised here rolls the transaction back."""
        ...

    def committed(self, rows: Sequence[Row]) -> None:
        """The rows are durable; must not block and must not raise."""
        ...


@dataclass
class Pending:
    """What one transaction has yet to write, in the order it came, and what it wrote already."""

    database: Database
    waiting: list[tuple[Sink, Row]] = field(default_factory=list)
    written: list[tuple[Sink, Row]] = field(default_factory=list)
    savepoints: list[int] = field(default_factory=list)
    last: Callable[[Connection], None] | None = None

    def add(self, sink: Sink, row: Row) -> None:
        """Keep a row for the commit."""
        self.waiting.append((sink, row))

    def drop_since(self, mark: int) -> None:
        """Forget the rows that a savepoint added and has rolled back."""
        del self.waiting[mark:]

    def write(self, execute: Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]) -> None:
        """Write what waits, one statement for each kind of row."""
        waiting, self.waiting = self.waiting, []
        for sink, rows in by_sink(waiting).items():
            sink.check(rows, execute(sink.statement, sink.parameters(rows)))
        self.written += waiting

    def write_through(self, connection: Connection) -> None:
        """Write on a psycopg connection."""
        self.write(lambda statement, values: connection.execute(statement.encode(), values).fetchall())

    def committed(self) -> None:
        """Tell each sink what is durable now."""
        written, self.written = self.written, []
        for sink, rows in by_sink(written).items():
            sink.committed(rows)


def by_sink(entries: Sequence[tuple[Sink, Row]]) -> dict[Sink, list[Row]]:
    """The rows of each sink, in order."""
    grouped: dict[Sink, list[Row]] = defaultdict(list)
    for sink, row in entries:
        grouped[sink].append(row)
    return grouped


def write_now(database: Database, entries: Sequence[tuple[Sink, Row]]) -> None:
    """Write rows in a transaction of their own; when this returns they are durable."""
    pending = Pending(database, list(entries))
    faults = database.faults
    faults.hit("enqueue.before_commit")
    if len(by_sink(entries)) == 1:
        database.run(_write_alone, pending)
    else:
        with database.connection() as connection, connection.transaction():
            pending.write_through(connection)
    faults.hit("enqueue.after_commit")
    pending.committed()


def _write_alone(connection: Connection, pending: Pending) -> None:
    # Idempotent: a second try after a lost answer finds the same rows. `waiting` is restored for it.
    entries = list(pending.waiting)
    try:
        pending.write_through(connection)
    except psycopg.Error:
        pending.waiting = entries
        raise


# ---- sessions -----------------------------------------------------------------------------------------------------


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
    if not pending.waiting and pending.last is None:
        return
    session.flush()
    connection = session.connection()
    pending.write(_executor(connection))
    if pending.last is not None and not session.in_nested_transaction():
        pending.last(driver_connection(connection))
    pending.database.faults.hit("enqueue.before_commit")


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        _pending_of(session).database.faults.hit("enqueue.after_commit")
        _pending_of(session).committed()


def _transaction_begun(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        _pending_of(session).savepoints.append(len(_pending_of(session).waiting))


def _rolled_back(session: Session, transaction: SessionTransaction) -> None:
    pending = _pending_of(session)
    pending.drop_since(pending.savepoints[-1] if transaction.nested and pending.savepoints else 0)


def _transaction_ended(session: Session, transaction: SessionTransaction) -> None:
    pending = _pending_of(session)
    if transaction.nested:
        if pending.savepoints:
            pending.savepoints.pop()
    elif transaction.parent is None:
        pending.waiting.clear()
        pending.written.clear()


def _executor(connection: AlchemyConnection) -> Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]:
    def execute(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return connection.execute(text(for_sqlalchemy(statement)), dict(values)).fetchall()

    return execute


def driver_connection(connection: AlchemyConnection) -> Connection:
    """The psycopg connection under a SQLAlchemy connection."""
    raw: Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return raw


class _OneCommit(Session):
    """The session of `app.transaction()`: its commit belongs to the end of the block."""

    def commit(self) -> None:
        if not self.info.get("trilho.committing"):
            raise TransactionError("app.transaction() commits at the end of its block: leave out session.commit()")
        super().commit()


# ---- the ambient transaction --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Owner:
    """Who may use a transaction: one thread, and in it one asyncio task."""

    thread: int
    task: int | None

    @classmethod
    def current(cls) -> "Owner":
        """The thread and task that run now."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        return cls(threading.get_ident(), id(task) if task else None)


class BaseTx:
    """What sync and async transactions share: an owner, whether it is open, and what it will write."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.pending = Pending(database)
        self.owner = Owner.current()
        self.open = True

    def ensure_usable(self) -> None:
        """Raise TransactionError if the block is over or belongs to another thread or task."""
        if not self.open:
            raise TransactionError("this transaction is over: its block has been left")
        if self.owner != Owner.current():
            raise TransactionError(
                "this transaction belongs to another thread or task: open one there, or pass the data instead"
            )

    def add(self, sink: Sink, row: Row) -> None:
        """Enqueue a row with this transaction."""
        self.ensure_usable()
        self.pending.add(sink, row)


class Tx(BaseTx):
    """One transaction: `session`, or `connection` below it, and every `.delay()` inside, are one commit."""

    def __init__(self, database: Database, application_name: str | None = None) -> None:
        super().__init__(database)
        self._application_name = application_name
        self.after: list[Callable[[], None]] = []
        self._session: Session | None = None
        self._immediate = False

    @property
    def session(self) -> Session:
        """A SQLAlchemy session; committed when the block ends."""
        self.ensure_usable()
        if self._session is None:
            self._session = _OneCommit(self.database.engine, expire_on_commit=False)
            follow(self._session, self.pending)
            if self._application_name is not None:
                name = self._application_name.replace("'", "")
                self._session.connection().exec_driver_sql(f"SET LOCAL application_name = '{name}'")
        return self._session

    @property
    def connection(self) -> Connection:
        """The psycopg connection; from its first use on, jobs are inserted at once, so that any savepoint counts."""
        connection = driver_connection(self.session.connection())
        if not self._immediate:
            self._immediate = True
            self.pending.write_through(connection)
        return connection

    def add(self, sink: Sink, row: Row) -> None:
        """Enqueue a row with this transaction."""
        super().add(sink, row)
        if self._immediate:
            self.pending.write_through(self.connection)

    @contextmanager
    def savepoint(self) -> Iterator["Tx"]:
        """A block whose writes and jobs are dropped together when it raises."""
        with self.session.begin_nested():
            yield self

    def flush(self) -> None:
        """Send the session's changes to the database, so that what is wrong with them shows here."""
        if self._session is not None:
            self._session.flush()

    def commit(self) -> None:
        """Write what waits and commit; called once, by whoever opened the transaction."""
        if self._session is None:
            entries, self.pending.waiting = self.pending.waiting, []
            if self.pending.last is None:
                self._commit_untouched(entries)
                return
            self.pending.waiting = entries
        session = self.session
        session.info["trilho.committing"] = True
        session.commit()
        for step in self.after:
            step()

    def _commit_untouched(self, entries: list[tuple[Sink, Row]]) -> None:
        if entries:
            write_now(self.database, entries)

    def close(self) -> None:
        """End the transaction; what was not committed is rolled back."""
        self.open = False
        if self._session is not None:
            self._session.close()


class AsyncTx(BaseTx):
    """As Tx, for asyncio: `session` is an AsyncSession."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._session: AsyncSession | None = None

    @property
    def session(self) -> AsyncSession:
        """A SQLAlchemy AsyncSession; committed when the block ends."""
        self.ensure_usable()
        if self._session is None:
            engine = self.database.async_engine
            self._session = AsyncSession(engine, sync_session_class=_OneCommit, expire_on_commit=False)
            follow(self._session.sync_session, self.pending)
        return self._session

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator["AsyncTx"]:
        """A block whose writes and jobs are dropped together when it raises."""
        async with self.session.begin_nested():
            yield self

    async def commit(self) -> None:
        """Write what waits and commit."""
        if self._session is None:
            entries, self.pending.waiting = self.pending.waiting, []
            if entries:
                await asyncio.to_thread(write_now, self.database, entries)
            return
        self._session.sync_session.info["trilho.committing"] = True
        await self._session.commit()

    async def close(self) -> None:
        """End the transaction; what was not committed is rolled back."""
        self.open = False
        if self._session is not None:
            await self._session.close()


_ambient: ContextVar[BaseTx | None] = ContextVar("trilho_transaction", default=None)


def ambient(database: Database) -> BaseTx | None:
    """The transaction around the caller, if it is of this database; raises TransactionError if it cannot be used."""
    tx = _ambient.get()
    if tx is None or tx.database is not database:
        return None
    tx.ensure_usable()
    return tx


@contextmanager
def installed(tx: BaseTx | None) -> Iterator[None]:
    """Make `tx` the ambient transaction of this block; None hides one that is there."""
    token = _ambient.set(tx)
    try:
        yield
    finally:
        _ambient.reset(token)


@contextmanager
def transaction(database: Database) -> Iterator[Tx]:
    """A transaction that commits at the end of the block; inside another one it is a savepoint of that."""
    outer = ambient(database)
    if isinstance(outer, AsyncTx):
        raise TransactionError("inside app.atransaction() use `async with app.atransaction()` again")
    if isinstance(outer, Tx):
        with outer.savepoint():
            yield outer
        return
    tx = Tx(database)
    try:
        with installed(tx):
            yield tx
        tx.commit()
    finally:
        tx.close()


@asynccontextmanager
async def atransaction(database: Database) -> AsyncIterator[AsyncTx]:
    """As `transaction`, for asyncio."""
    outer = ambient(database)
    if isinstance(outer, Tx):
        raise TransactionError("inside app.transaction() use `with app.transaction()` again")
    if isinstance(outer, AsyncTx):
        async with outer.savepoint():
            yield outer
        return
    tx = AsyncTx(database)
    try:
        with installed(tx):
            yield tx
        await tx.commit()
    finally:
        await tx.close()
