"""A process that enqueues: the side of a web request. It takes verbs as JSON lines and answers what each one cost."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from bench.apps import QUEUE, Place, application, arguments
from trilho import Trilho

SCHEMA = "CREATE TABLE IF NOT EXISTS orders (id bigserial PRIMARY KEY, name text NOT NULL)"
SAVE = text("INSERT INTO orders (name) VALUES (:name)")
BATCH = 1000
ANSWER_TIMEOUT = 10.0


class Caller:
    """What one application does for its callers; every verb returns the seconds it took, or none."""

    def __init__(self, place: Place) -> None:
        self.app = application(place)
        self._task = self.app.tasks["bench.nothing"]
        self._engine = create_engine(place.database_url.replace("postgresql://", "postgresql+psycopg://", 1))

    def alone(self, count: int) -> float:
        """`.delay()` that is durable when it returns, one after the other."""
        return timed(lambda: self._delay(count))

    def saved(self, count: int, size: int) -> float:
        """Transactions that save one row and enqueue `size` jobs each: a commit, then `.delay()`; or one commit."""
        return timed(lambda: self._save(count // max(1, size), size))

    def saved_only(self, transactions: int) -> float:
        """The same transactions without any job."""
        return timed(lambda: self._save(transactions, 0))

    def many(self, count: int) -> float:
        """As many jobs at once as the library can take."""
        return timed(lambda: self._enqueue_many(count))

    def round_trips(self, count: int) -> list[float]:
        """Seconds of each `.delay().get()` while nothing else goes on."""
        return [timed(lambda: self._task.delay(*arguments(number)).get(timeout=60)) for number in range(count)]

    def consume(self, on: bool) -> None:
        """Let the worker take jobs, or hold it."""
        verb = self.app.control.add_consumer if on else self.app.control.cancel_consumer
        if not verb(QUEUE, reply=True, timeout=ANSWER_TIMEOUT, limit=1):
            raise RuntimeError(f"no worker answered to {verb.__name__}")

    def task_events(self, on: bool) -> None:
        """What `celery worker -E` switches on."""
        self.app.control.broadcast(
            "enable_events" if on else "disable_events", reply=True, timeout=ANSWER_TIMEOUT, limit=1
        )

    def cpu(self) -> float:
        """Seconds of CPU time that this process has used."""
        return time.process_time()

    # ---- how

    def _delay(self, count: int) -> None:
        for number in range(count):
            self._task.delay(*arguments(number))
        self._settle()

    def _save(self, transactions: int, size: int) -> None:
        with self._session() as session:  # opens what is opened once
            session.execute(SAVE, {"name": "first"})
        for number in range(transactions):
            if isinstance(self.app, Trilho):
                with self.app.transaction() as tx:
                    tx.session.execute(SAVE, {"name": f"order {number}"})
                    self._delay_some(size)
            else:
                with self._session() as session:
                    session.execute(SAVE, {"name": f"order {number}"})
                self._delay_some(size)
        self._settle()

    def _session(self) -> AbstractContextManager[Session]:
        return Session(self._engine).begin().session if False else _committed(self._engine)

    def _delay_some(self, size: int) -> None:
        for number in range(size):
            self._task.delay(*arguments(number))

    def _enqueue_many(self, count: int) -> None:
        for start in range(0, count, BATCH):
            items = [arguments(number) for number in range(start, min(count, start + BATCH))]
            if isinstance(self.app, Trilho):
                self.app.enqueue_many(self._task, items)
            else:
                with self.app.producer_or_acquire() as producer:
                    for item in items:
                        self._task.apply_async(item, producer=producer)
        self._settle()

    def _settle(self) -> None:
        """Count the wake-ups that go out in the background, too."""
        if isinstance(self.app, Trilho):
            self.app.pipe.flush(ANSWER_TIMEOUT)
