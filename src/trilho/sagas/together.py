"""Group commit: what several threads of a process ask of PostgreSQL at the same time is one statement, one commit."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psycopg

from trilho.db.pool import LOST, Connection, Database

T = TypeVar("T")
R = TypeVar("R")

MOST = 64
"""Items of one statement."""


class Desk:
    """One connection, which one thread has at a time; what all threads do on one is done with warm caches."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held = self._database.held()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """The connection, in autocommit mode; raises as `Database.connection` does."""
        if self._pid != os.getpid():  # another thread of the parent may have had the lock
            self._begin_process()
        with self._lock:
            try:
                with self._held.connection() as connection:
                    yield connection
            except psycopg.Error:
                raise
            except BaseException:  # a statement may be under way
                self._held.close()
                raise


@dataclass(slots=True, eq=False)
class _Turn(Generic[T, R]):
    """One thread's item: it waits until it is done, or until this thread has to do what has gathered."""

    item: T
    gate: threading.Lock = field(default_factory=threading.Lock)
    leads: bool = False
    over: bool = False
    answer: R | None = None
    error: BaseException | None = None


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
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[_Turn[T, R]] = deque()
        self._busy = False

    def do(self, item: T) -> R:
        """What the verb says of this item, once that is durable; raises what psycopg raises."""
        if self._pid != os.getpid():
            self._begin_process()
        turn = self._done(item)
        if self._tries > 1 and isinstance(turn.error, LOST):
            turn = self._done(item)
        if turn.error is not None:
            raise turn.error
        return turn.answer  # type: ignore[return-value]  # R may be optional itself

    def _done(self, item: T) -> _Turn[T, R]:
        turn: _Turn[T, R] = _Turn(item)
        try:
            if not self._leads(turn):
                with turn.gate:
                    pass
            if not turn.over:
                self._lead(turn)
        except BaseException:
            self._leave(turn)
            raise
        return turn

    def _leads(self, turn: _Turn[T, R]) -> bool:
        with self._lock:
            self._waiting.append(turn)
            turn.leads, self._busy = not self._busy, True
            if not turn.leads:
                turn.gate.acquire()
            return turn.leads

    def _lead(self, mine: _Turn[T, R]) -> None:
        turns = [mine]
        try:
            with self._desk.connection() as connection:
                turns = self._gathered()
                self._run(connection, turns)
        except psycopg.Error as error:
            _fail(turns, error)
        except BaseException as error:  # of this thread alone: the others hear of no answer
            _fail(turns, psycopg.InterfaceError(f"interrupted: {error!r}"))
            raise
        finally:
            self._tell(turns)
            self._leave(mine)

    def _gathered(self) -> list[_Turn[T, R]]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]

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

    def _tell(self, turns: Sequence[_Turn[T, R]]) -> None:
        for turn in turns:
            turn.over = True
            if turn.gate.locked():
                turn.gate.release()

    def _leave(self, turn: _Turn[T, R]) -> None:
        """Let the next one lead, if this one did; also when it is interrupted while it waits."""
        with self._lock:
            if not turn.over and turn in self._waiting:
                self._waiting.remove(turn)
            if not turn.leads:
                return
            turn.leads, self._busy = False, bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].gate.release()


def _fail(turns: Sequence[_Turn[T, R]], error: BaseException) -> None:
    for turn in turns:
        turn.error = error
