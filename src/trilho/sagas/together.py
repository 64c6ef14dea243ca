"""Group commit: what several threads of a process have to write at the same time is one statement and one commit."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psycopg

from trilho.db.pool import LOST, Connection, Database

T = TypeVar("T")
R = TypeVar("R")

MOST = 64
"""Items of one statement."""


@dataclass(eq=False)
class _Turn(Generic[T, R]):
    """One thread's item: it waits until somebody has written it, or until it is its turn to write."""

    item: T
    gate: threading.Lock = field(default_factory=threading.Lock)
    written: R | None = None
    error: BaseException | None = None
    over: bool = False


class Together(Generic[T, R]):
    """Whoever comes first writes; those that come meanwhile are written by the first of them, all at once."""

    def __init__(self, database: Database, verb: Callable[[Connection, Sequence[T]], Sequence[R]]) -> None:
        self._database = database
        self._verb = verb
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._held = self._database.held()
        self._lock = threading.Lock()
        self._waiting: deque[_Turn[T, R]] = deque()
        self._writing = False

    def write(self, item: T) -> R:
        """What the verb says of this item, once that is durable; raises what psycopg raises."""
        if self._pid != os.getpid():  # another thread of the parent may have held the lock
            self._begin_process()
        turn: _Turn[T, R] = _Turn(item)
        if not self._is_first(turn):
            with turn.gate:
                pass
        if not turn.over:
            self._lead()
        if turn.error is not None:
            raise turn.error
        return turn.written  # type: ignore[return-value]  # R may be optional itself

    def _is_first(self, turn: _Turn[T, R]) -> bool:
        with self._lock:
            self._waiting.append(turn)
            if self._writing:
                turn.gate.acquire()
                return False
            self._writing = True
            return True

    def _lead(self) -> None:
        with self._lock:
            turns = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            self._write(turns)
        finally:
            self._pass_on(turns)

    def _pass_on(self, turns: Sequence[_Turn[T, R]]) -> None:
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._writing = following is not None
        for turn in turns:
            turn.over = True
            if turn.gate.locked():
                turn.gate.release()
        if following is not None:
            following.gate.release()

    def _write(self, turns: Sequence[_Turn[T, R]]) -> None:
        try:
            with self._held.connection() as connection:
                written = self._verb(connection, [turn.item for turn in turns])
        except psycopg.Error as error:
            self._write_apart(turns, error)
        except BaseException as error:  # a statement may be under way
            self._held.close()
            _fail(turns, psycopg.InterfaceError(f"not written: {error!r}"))
            raise
        else:
            for turn, told in zip(turns, written, strict=True):
                turn.written = told

    def _write_apart(self, turns: Sequence[_Turn[T, R]], error: psycopg.Error) -> None:
        """What cannot be written must not take the others with it."""
        if len(turns) == 1 or isinstance(error, LOST):
            _fail(turns, error)
            return
        for turn in turns:
            self._write([turn])


def _fail(turns: Sequence[_Turn[T, R]], error: BaseException) -> None:
    for turn in turns:
        turn.error = error
