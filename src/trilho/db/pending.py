"""What a transaction will write at its end: rows are kept until just before the commit, or dropped."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from psycopg.rows import tuple_row
from sqlalchemy.orm import SessionTransaction

from trilho.db.pool import Connection, Database

Row = Any
Execute = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


class Sink(Protocol):
    """Where one kind of row goes: all rows of a transaction together, and one call after the commit."""

    @property
    def at_once(self) -> bool:
        """Whether its caller needs to know now what became of the row."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether rows may be written again when the answer got lost."""
        ...

    def write(self, execute: Execute, rows: Sequence[Row]) -> None:
        """Write rows; an error raised here rolls the transaction back."""
        ...

    def committed(self, rows: Sequence[Row]) -> None:
        """The rows are durable; must not block and must not raise."""
        ...


class ListSink(ABC):
    """Writes a list of rows with one statement."""

    statement: str

    @abstractmethod
    def parameters(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """What the statement is run with."""

    @abstractmethod
    def check(self, rows: Sequence[Row], returned: Sequence[Sequence[Any]]) -> None:
        """Look at what the statement returned; raises for rows that cannot be."""

    def write(self, execute: Execute, rows: Sequence[Row]) -> None:
        """Write rows; raises what `check` raises."""
        self.check(rows, execute(self.statement, self.parameters(rows)))


@dataclass
class Pending:
    """What one transaction has to write, in the order it came; the first `written` rows are in the database already."""

    database: Database
    rows: list[tuple[Sink, Row]] = field(default_factory=list)
    written: int = 0
    announced: list[tuple[Sink, Row]] = field(default_factory=list)
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
        if savepoint is None:
            self.announced.clear()

    def take(self) -> list[tuple[Sink, Row]]:
        """Everything, to be dealt with by the caller."""
        rows, self.rows, self.written = self.rows, [], 0
        return rows

    def write(self, execute: Execute) -> None:
        """Write what is not written yet, one statement for each kind of row."""
        for sink, rows in by_sink(self.rows[self.written :]).items():
            sink.write(execute, rows)
        self.written = len(self.rows)

    def write_alone(self, execute: Execute, sink: Sink, row: Row) -> None:
        """Write one row now, and leave it to the savepoint it is in; rows that wait for the commit go on waiting."""
        sink.write(execute, [row])
        self.announced.append((sink, row))

    def write_through(self, connection: Connection) -> None:
        """Write on a psycopg connection."""
        self.write(executor(connection))

    def committed(self) -> None:
        """Tell each sink what is durable now."""
        announced, self.announced = self.announced, []
        for sink, rows in by_sink([*announced, *self.take()]).items():
            sink.committed(rows)


def executor(connection: Connection) -> Execute:
    """Runs statements on a psycopg connection, whatever rows its owner likes."""

    def execute(statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return connection.cursor(row_factory=tuple_row).execute(statement.encode(), values).fetchall()

    return execute


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
    sinks = list(by_sink(entries))
    if len(sinks) > 1:
        with database.connection() as connection, connection.transaction():
            pending.write_through(connection)
    elif sinks[0].repeatable:
        database.run(lambda connection: pending.write_through(connection))
    else:
        with database.connection() as connection:
            pending.write_through(connection)
    faults.hit("enqueue.after_commit")
    pending.committed()
