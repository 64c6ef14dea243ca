"""Transactions that carry jobs: what is enqueued inside is written just before the commit, or not at all."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

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
    """What one transaction has to write, in the order it came; the first `written` rows are in the database already."""

    database: Database
    rows: list[tuple[Sink, Row]] = field(default_factory=list)
    written: int = 0
    marks: WeakKeyDictionary[SessionTransaction, tuple[int, int]] = field(default_factory=WeakKeyDictionary)
    last: Callable[[Connection], None] | None = None

    def add(self, sink: Sink, row: Row) -> None:
        """Keep a row for the commit."""
        self.rows.append((sink, row))

    def mark(self, savepoint: SessionTransaction) -> None:
        """Remember what was there when a savepoint began."""
        self.marks[savepoint] = (len(self.rows), self.written)

    def roll_back(self, savepoint: SessionTransaction | None) -> None:
        """Forget what came since a savepoint, or everything; what it wrote of earlier rows has to be written again."""
        count, written = (0, 0) if savepoint is None else self.marks.get(savepoint, (0, 0))
        del self.rows[count:]
        self.written = min(self.written, written)

    def take(self) -> list[tuple[Sink, Row]]:
        """Everything, to be dealt with by the caller."""
        rows, self.rows, self.written = self.rows, [], 0
        return rows

    def write(self, execute: Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]) -> None:
        """Write what is not written yet, one statement for each kind of row."""
        for sink, rows in by_sink(self.rows[self.written :]).items():
            sink.check(rows, execute(sink.statement, sink.parameters(rows)))
        self.written = len(self.rows)

    def write_through(self, connection: Connection) -> None:
        """Write on a psycopg connection."""
        self.write(lambda statement, values: connection.execute(statement.encode(), values).fetchall())

    def committed(self) -> None:
        """Tell each sink what is durable now."""
        for sink, rows in by_sink(self.take()).items():
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
        # Idempotent: a second try after a lost answer finds the same rows.
        database.run(lambda connection: pending.write_through(connection))
    else:
        with database.connection() as connection, connection.transaction():
            pending.write_through(connection)
    faults.hit("enqueue.after_commit")
    pending.committed()


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
    # Not in a savepoint: it may still be rolled back together with one around it, and rows from before it must not.
    if session.in_nested_transaction() or (pending.written == len(pending.rows) and pending.last is None):
        return
    session.flush()
    connection = session.connection()
    pending.write(_executor(connection))
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
        if self._session is None and self.pending.last is None:
            self._commit_untouched()
            return
        session = self.session
        session.info["trilho.committing"] = True
        session.commit()
        for step in self.after:
            step()

    def _commit_untouched(self) -> None:
        if entries := self.pending.take():
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
            if entries := self.pending.take():
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
