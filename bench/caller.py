"""What enqueues, the side of a web request: the same verbs for Celery and for Trilho, each returning its seconds."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from bench.apps import QUEUE, TASK, Place, application, arguments
from trilho import Trilho

SAVE = text("INSERT INTO orders (name) VALUES (:name)")
BATCH = 1000
ANSWER_TIMEOUT = 10.0


class Caller(ABC):
    """One application and its callers."""

    def __init__(self) -> None:
        self._task = self.app.tasks[TASK]

    @property
    @abstractmethod
    def app(self) -> Celery:
        """The application."""

    @abstractmethod
    def _transaction(self, name: str, jobs: int) -> None:
        """Save one row and enqueue so many jobs."""

    @abstractmethod
    def _enqueue_many(self, items: list[tuple[Any, ...]]) -> None:
        """All at once, as far as the library can."""

    @abstractmethod
    def _settle(self) -> None:
        """Wait for what still goes out in the background: it belongs to the price."""

    def warm_up(self) -> None:
        """Open what is opened once."""
        self.alone(1)
        self.transactions(1, 1)
        self.many(1)

    def alone(self, count: int) -> float:
        """`.delay()` after `.delay()`, each durable when it returns."""
        return self._timed(lambda: [self._task.delay(*arguments(number)) for number in range(count)])

    def transactions(self, count: int, jobs: int) -> float:
        """`count` transactions, each of which saves a row and enqueues so many jobs."""
        return self._timed(lambda: [self._transaction(f"order {number}", jobs) for number in range(count)])

    def many(self, count: int) -> float:
        """`count` jobs, 1,000 in one go."""
        batches = [range(start, min(count, start + BATCH)) for start in range(0, count, BATCH)]
        return self._timed(lambda: [self._enqueue_many([arguments(n) for n in batch]) for batch in batches])

    def awaited(self, count: int) -> list[float]:
        """Seconds from each `.delay()` to its `.get()`, while nothing else goes on."""
        return [timed(self._one_result) for _ in range(count)]

    def consume(self, on: bool, workers: int = 1) -> None:
        """Let the workers take jobs, or hold them."""
        verb = self.app.control.add_consumer if on else self.app.control.cancel_consumer
        answers = verb(QUEUE, reply=True, timeout=ANSWER_TIMEOUT, limit=workers)
        if len(answers or ()) < workers:
            raise RuntimeError(f"{len(answers or ())} of {workers} workers answered to {verb.__name__}")

    def task_events(self, on: bool) -> None:
        """What `celery worker -E` switches on."""
        command = "enable_events" if on else "disable_events"
        self.app.control.broadcast(command, reply=True, timeout=ANSWER_TIMEOUT, limit=1)

    def cpu(self) -> float:
        """Seconds of CPU time that this process has used so far."""
        return time.process_time()

    def _one_result(self) -> None:
        self._task.delay(*arguments(0)).get(timeout=60)

    def _timed(self, action: Callable[[], object]) -> float:
        return timed(lambda: (action(), self._settle()))


class CeleryCaller(Caller):
    """As most projects do it: commit, then `.delay()`."""

    def __init__(self, place: Place) -> None:
        self._app = application(place)
        self._engine = create_engine(place.database_url.replace("postgresql://", "postgresql+psycopg://", 1))
        super().__init__()

    @property
    def app(self) -> Celery:
        """The application."""
        return self._app

    def _transaction(self, name: str, jobs: int) -> None:
        with Session(self._engine) as session:
            session.execute(SAVE, {"name": name})
            session.commit()
        for number in range(jobs):
            self._task.delay(*arguments(number))

    def _enqueue_many(self, items: list[tuple[Any, ...]]) -> None:
        # Celery has no verb for this; one producer for all spares it a look into the pool for each message.
        with self._app.producer_or_acquire() as producer:
            for item in items:
                self._task.apply_async(item, producer=producer)

    def _settle(self) -> None:
        """Nothing: a message is out when `.delay()` returns."""


class TrilhoCaller(Caller):
    """Row and jobs are one commit."""

    def __init__(self, place: Place) -> None:
        app = application(place)
        assert isinstance(app, Trilho)
        self._app = app
        super().__init__()

    @property
    def app(self) -> Celery:
        """The application."""
        return self._app

    def _transaction(self, name: str, jobs: int) -> None:
        with self._app.transaction() as tx:
            tx.session.execute(SAVE, {"name": name})
            for number in range(jobs):
                self._task.delay(*arguments(number))

    def _enqueue_many(self, items: list[tuple[Any, ...]]) -> None:
        self._app.enqueue_many(self._task, items)

    def _settle(self) -> None:
        self._app.pipe.flush(ANSWER_TIMEOUT)


def timed(action: Callable[[], object]) -> float:
    """Its seconds."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def caller_of(place: Place) -> Caller:
    """The callers of one stack."""
    return CeleryCaller(place) if place.stack == "celery" else TrilhoCaller(place)
