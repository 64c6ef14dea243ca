"""Group commit: what several threads of a process ask of PostgreSQL at the same time is one statement, one commit."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar
from weakref import ref

import psycopg

from trilho.db.forks import PerProcess
from trilho.db.pool import Connection, Database, naming_a_missing_schema
from trilho.errors import ConfigurationError

T = TypeVar("T")
R = TypeVar("R")

MOST = 64
"""Items of one statement."""
LEADER_LOST = 1.0
"""Seconds after which those who wait look whether anybody leads."""


def _nobody() -> None:
    """Who leads when nobody does."""


class Desk:
    """One connection, which one thread has at a time; what all threads do on one is done with warm caches."""

    def __init__(self, database: Database) -> None:
        self._own = PerProcess(lambda: (threading.Lock(), database.held(database.open_patiently)))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """The connection, in autocommit mode; raises as `Database.connection` does, as late as that."""
        lock, held = self._own.here()
        with lock:
            try:
                with held.connection() as connection:
                    yield connection
            except psycopg.Error:
                raise
            except BaseException:  # a statement may be under way
                held.close()
                raise


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Turn(Generic[T, R]):
    """One thread's item, until it is over."""

    item: T
    over: bool = False
    answer: R | None = None
    error: BaseException | None = None
    broken: bool = False  # its connection broke under it: nobody knows whether it was done


@dataclass(eq=False)
class _Line(Generic[T, R]):
    """The turns of one process that nobody has taken yet, and whose thread takes them at present.

    The leader is not kept alive: one whose thread was interrupted before it could give the lead away has none any more.
    """

    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.Lock()))
    waiting: deque[_Turn[T, R]] = field(default_factory=deque)
    leader: Callable[[], _Turn[T, R] | None] = field(default=_nobody)

    def join(self, turn: _Turn[T, R]) -> None:
        """Wait until the turn is over, or has to lead."""
        with self.changed:
            self.waiting.append(turn)
            while not turn.over and self.leader() is not None:
                self.changed.wait(LEADER_LOST)
            if not turn.over:
                self.leader = ref(turn)

    def take(self, taken: list[_Turn[T, R]]) -> None:
        """Those that are to be done now; whoever is interrupted here has them in both places, and none is lost."""
        with self.changed:
            batch = list(islice(self.waiting, MOST))
            taken.extend(turn for turn in batch if not turn.over)
            for _ in batch:
                self.waiting.popleft()

    def tell(self, turns: Sequence[_Turn[T, R]]) -> None:
        """These are over."""
        with self.changed:
            for turn in turns:
                turn.over = True
            self.changed.notify_all()

    def leave(self, turn: _Turn[T, R]) -> None:
        """Let another one lead; whatever has ended the wait of this one, nobody does its item any more."""
        with self.changed:
            if turn in self.waiting:
                self.waiting.remove(turn)
            if self.leader() is turn:
                self.leader = _nobody
                self.changed.notify_all()


class Together(Generic[T, R]):
    """Whoever comes first goes alone; those that come meanwhile are done by the first of them, all at once.

    `repeatable` verbs run once more where the connection broke under them.
    """

    def __init__(
        self, desk: Desk, verb: Callable[[Connection, Sequence[T]], Sequence[R]], *, repeatable: bool = False
    ) -> None:
        self._desk = desk
        self._verb = verb
        self._repeatable = repeatable
        self._line: PerProcess[_Line[T, R]] = PerProcess(_Line)

    def do(self, item: T) -> R:
        """What the verb says of this item, once that is durable; raises what psycopg raises."""
        turn = self._done(item)
        if turn.broken and self._repeatable:
            turn = self._done(item)
        if turn.error is not None:
            raise turn.error
        return turn.answer  # type: ignore[return-value]  # R may be optional itself

    def _done(self, item: T) -> _Turn[T, R]:
        turn: _Turn[T, R] = _Turn(item)
        line = self._line.here()
        try:
            line.join(turn)
            while not turn.over:  # once, unless more than MOST came before it
                self._lead(line, turn)
        finally:
            line.leave(turn)
        return turn

    def _lead(self, line: _Line[T, R], own: _Turn[T, R]) -> None:
        turns: list[_Turn[T, R]] = []
        try:
            with self._desk.connection() as connection:
                line.take(turns)
                if not turns:
                    raise psycopg.InterfaceError("the thread that had this in hand was interrupted")
                self._run(connection, turns)
        except (psycopg.Error, ConfigurationError) as error:
            if not turns:  # without a connection nobody who waits would get any further
                line.take(turns)
            turns = turns or [own]
            _fail(turns, error)
        except BaseException as error:  # of this thread alone: the others hear of no answer
            _fail(turns, psycopg.InterfaceError(f"interrupted: {error!r}"))
            raise
        finally:
            line.tell(turns)

    def _run(self, connection: Connection, turns: Sequence[_Turn[T, R]]) -> None:
        try:
            answers = self._verb(connection, [turn.item for turn in turns])
        except psycopg.Error:
            for turn in turns:
                turn.broken = connection.closed
            if connection.closed or len(turns) == 1:
                raise
            self._run_apart(connection, turns)
        else:
            for turn, answer in zip(turns, answers, strict=True):
                turn.answer = answer

    def _run_apart(self, connection: Connection, turns: Sequence[_Turn[T, R]]) -> None:
        """What cannot be done must not take the others with it."""
        for turn in turns:
            try:
                with naming_a_missing_schema():
                    self._run(connection, [turn])
            except (psycopg.Error, ConfigurationError) as error:
                turn.error = error


def _fail(turns: Sequence[_Turn[T, R]], error: BaseException) -> None:
    for turn in turns:
        turn.error = error
