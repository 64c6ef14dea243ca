"""Transactions that carry jobs: what is enqueued inside is written just before the commit, or not at all."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from trilho.db.pending import Pending, Row, Sink, executor, write_now
from trilho.db.pool import Connection, Database
from trilho.db.sessions import OneCommit, driver_connection, follow
from trilho.errors import TransactionError


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
        self.owner = self._opener = Owner.current()
        self.open = True

    def ensure_usable(self) -> None:
        """Raise TransactionError if the block is over or belongs to another thread or task."""
        if not self.open:
            raise TransactionError("this transaction is over: its block has been left")
        if self.owner != Owner.current():
            raise TransactionError(
                "this transaction belongs to another thread or task: open one there, or pass the data instead"
            )

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A block in which it belongs to the thread and task that run now: whoever opened it waits for them."""
        if self.owner != self._opener:  # lent already: to one at a time
            yield
            return
        self.owner = Owner.current()
        try:
            yield
        finally:
            self.owner = self._opener

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
        self._driver: Connection | None = None
        self._immediate = False
        self._harmed = False

    @property
    def session(self) -> Session:
        """A SQLAlchemy session; committed when the block ends."""
        self.ensure_usable()
        if self._session is None:
            self._session = OneCommit(self.database.engine, expire_on_commit=False)
            follow(self._session, self.pending)
            if self._application_name is not None:
                name = self._application_name.replace("'", "")
                connection = self._session.connection()
                self._driver = driver_connection(connection)
                connection.exec_driver_sql(f"SET LOCAL application_name = '{name}'")
        return self._session

    @property
    def connection(self) -> Connection:
        """The psycopg connection; from its first use on, jobs are inserted at once, so that any savepoint counts."""
        self._immediate = True
        return driver_connection(self.session.connection())

    def add(self, sink: Sink, row: Row) -> None:
        """Enqueue a row with this transaction."""
        if sink.at_once:  # what waits may be what it speaks of
            self.pending.write_through(self.raw)
        if self._immediate or sink.at_once:
            self.pending.write_alone(executor(self.raw), sink, row)
        else:
            super().add(sink, row)

    @property
    def untouched(self) -> bool:
        """Whether there is nothing to commit."""
        return self._session is None and not self.pending.rows

    def was_harmed(self) -> bool:
        """Whether this transaction could not be begun, failed, or lost its connection: not some other one."""
        if self._session is None:
            return False
        driver = self._driver
        return (
            self._harmed
            or driver is None
            or driver.closed
            or driver.info.transaction_status is TransactionStatus.INERROR
        )

    @property
    def raw(self) -> Connection:
        """The psycopg connection for Trilho's own statements; unlike `connection` it leaves jobs to the commit."""
        return driver_connection(self.session.connection())

    @contextmanager
    def savepoint(self) -> Iterator["Tx"]:
        """A block whose writes and jobs are dropped together when it raises."""
        with self.session.begin_nested():
            try:
                yield self
            except BaseException:
                self._harmed = self.was_harmed()  # going back to the savepoint heals it
                raise

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
        self._ensure_whole()
        session.info["trilho.committing"] = True
        session.commit()
        for step in self.after:
            step()

    def _ensure_whole(self) -> None:
        """Raise TransactionError if a COMMIT or ROLLBACK inside ended the transaction that this one began with.

        Its name went with it, and the server told the driver so: that costs no round trip.
        """
        name = self._application_name
        if name is not None and self.raw.info.parameter_status("application_name") != name:
            raise TransactionError("the transaction was ended inside its block: leave out COMMIT and ROLLBACK")

    def _commit_untouched(self) -> None:
        if entries := self.pending.take():
            write_now(self.database, entries)

    def close(self) -> None:
        """End the transaction; what was not committed is rolled back."""
        self.open = False
        if self._session is not None:
            try:
                self._session.close()
            except DBAPIError:  # there is nothing to roll back any more, and whoever closes has an error of his own
                self._session.invalidate()


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
            self._session = AsyncSession(engine, sync_session_class=OneCommit, expire_on_commit=False)
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
            try:
                await self._session.close()
            except DBAPIError:
                await self._session.invalidate()


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
def lent_by(owner: Owner) -> Iterator[None]:
    """Lend the ambient transaction of `owner`, who waits for the caller, if there is one."""
    tx = _ambient.get()
    if tx is None or tx.owner != owner:
        yield
        return
    with tx.lent():
        yield


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
