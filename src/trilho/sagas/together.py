"""Group commit: what several threads of a process ask of PostgreSQL at the same time is one statement, one commit."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psycopg

from trilho.db.forks import PerProcess
from trilho.db.pool import LOST, Connection, Database

T = TypeVar("T")
R = TypeVar("R")

MOST = 64
"""Items of one statement."""


class Desk:
    """One connection, which one thread has at a time; what all threads do on one is done with warm caches."""

    def __init__(self, database: Database) -> None:
        self._own = PerProcess(lambda: (threading.Lock(), database.held()))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """The connection, in autocommit mode; raises as `Database.connection` does."""
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


@dataclass(slots=True, eq=False)
class _Turn(Generic[T, R]):
    """One thread's item, until it is over."""

    item: T
    over: bool = False
    answer: R | None = None
    error: BaseException | None = None


@dataclass(eq=False)
class _Line(Generic[T, R]):
    """The turns of one process that nobody has taken yet, and whose thread takes them at present."""

    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.Lock()))
    waiting: deque[_Turn[T, R]] = field(default_factory=deque)
    leader: _Turn[T, R] | None = None

    def join(self, turn: _Turn[T, R]) -> None:
        """Wait until the turn is over, or has to lead."""
        with self.changed:
            self.waiting.append(turn)
            self.changed.wait_for(lambda: turn.over or self.leader is None)
            if not turn.over:
                self.leader = turn

    def take(self) -> list[_Turn[T, R]]:
        """Those that are to be done now."""
        with self.changed:
            return [self.waiting.popleft() for _ in range(min(MOST, len(self.waiting)))]

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
            if self.leader is turn:
                self.leader = None
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
        self._tries = 2 if repeatable else 1
        self._line: PerProcess[_Line[T, R]] = PerProcess(_Line)

    def do(self, item: T) -> R:
        """What the verb says of this item, once that is durable; raises what psycopg raises."""
        turn = self._done(item)
        if self._tries > 1 and isinstance(turn.error, LOST):
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
                self._lead(line)
        finally:
            line.leave(turn)
        return turn

    def _lead(self, line: _Line[T, R]) -> None:
        turns: list[_Turn[T, R]] = []
        try:
            with self._desk.connection() as connection:
                turns = line.take()
                self._run(connection, turns)
        except psycopg.Error as error:
            turns = turns or line.take()  # without a connection nobody who waits would get any further
            _fail(turns, error)
        except BaseException as error:  # of this thread alone: the others hear of no answer
            _fail(turns, psycopg.InterfaceError(f"interrupted: {error!r}"))
            raise
        finally:
            line.tell(turns)

    def _run(self, connection: Connection, turns: Sequence[_Turn[T, R]]) -> None:
        try:
            answers = self._verb(connection, [turn.item for turn in turns])
        except LOST:
            raise
        except psycopg.Error:
            if len(turns) == 1:
                raise
            self._run_apart(connection, turns)
        else:
            for turn, answer in zip(turns, answers, strict=True):
                turn.answer = answer

    def _run_apart(self, connection: Connection, turns: Sequence[_Turn[T, R]]) -> None:
        """What cannot be done must not take the others with it."""
        for turn in turns:
            try:
                self._run(connection, [turn])
            except psycopg.Error as error:
                turn.error = error


def _fail(turns: Sequence[_Turn[T, R]], error: BaseException) -> None:
    for turn in turns:
        turn.error = error
