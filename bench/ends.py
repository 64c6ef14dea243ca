"""When jobs ended, by what each stack itself wrote down."""

import json
import time
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import redis
import uuid_utils

from bench.apps import Place

LOOK = 0.05
STANDSTILL = 60.0


class Ends(ABC):
    """The jobs that were enqueued since the last `begin`."""

    @abstractmethod
    def begin(self) -> None:
        """Look at later jobs only."""

    @abstractmethod
    def nearly_over(self, jobs: int) -> bool:
        """Whether it is worth while to count; asking must cost the servers next to nothing."""

    @abstractmethod
    def left(self, jobs: int) -> int:
        """How many of so many jobs have not ended yet."""

    @abstractmethod
    def times(self) -> list[datetime]:
        """When each one ended; raises AssertionError if one did not end well."""

    def wait(self, jobs: int) -> None:
        """Wait until all have ended; raises TimeoutError when none did for a minute."""
        least, since = jobs, time.monotonic()
        while not self.nearly_over(jobs) or self.left(jobs):
            time.sleep(LOOK)
            if time.monotonic() - since > STANDSTILL:
                left = self.left(jobs)
                if left >= least:
                    raise TimeoutError(f"{left} of {jobs} jobs are left, and none ended for {STANDSTILL:g} s")
                least, since = left, time.monotonic()

    def rate(self, jobs: int) -> float:
        """Jobs per second, from the end of the first one to the end of the last."""
        times = self.times()
        assert len(times) == jobs, f"{len(times)} of {jobs} jobs ended"
        return (jobs - 1) / (max(times) - min(times)).total_seconds()


class CeleryEnds(Ends):
    """From the results in Redis; each says when its job was done."""

    def __init__(self, place: Place) -> None:
        self._client = redis.Redis.from_url(place.results_url)

    def begin(self) -> None:
        """Forget what is there."""
        self._client.flushdb()

    def nearly_over(self, jobs: int) -> bool:
        """Counting is cheap here."""
        return True

    def left(self, jobs: int) -> int:
        """How many results are missing; nothing else is kept in this database."""
        return jobs - int(self._client.dbsize())

    def times(self) -> list[datetime]:
        """When each one ended."""
        results: list[dict[str, Any]] = [json.loads(text) for text in self._client.mget(self._client.keys())]
        assert all(result["status"] == "SUCCESS" for result in results)
        return [datetime.fromisoformat(result["date_done"]) for result in results]


_LEFT = """SELECT (SELECT count(*) FROM trilho.jobs
            WHERE state IN ('PENDING', 'RETRY') AND NOT held AND sent_at IS NOT NULL AND id >= %(floor)s)
     + (SELECT count(*) FROM trilho.jobs
            WHERE state IN ('PENDING', 'RETRY') AND NOT held AND sent_at IS NULL AND id >= %(floor)s)
     + (SELECT count(*) FROM trilho.jobs WHERE state IN ('STARTED', 'PROCESSING') AND id >= %(floor)s)"""
_YOUNGEST = "SELECT finished_at IS NOT NULL FROM trilho.jobs ORDER BY id DESC LIMIT 1"
_TIMES = "SELECT state, finished_at FROM trilho.jobs WHERE id >= %(floor)s"


class TrilhoEnds(Ends):
    """From the rows, found by their ids, so that asking costs the same however many others there are."""

    def __init__(self, place: Place) -> None:
        self._connection = psycopg.connect(place.database_url, autocommit=True)
        self._floor = ""

    def begin(self) -> None:
        """Ids grow with time."""
        self._floor = str(uuid_utils.uuid7())
        time.sleep(0.01)  # ids of one millisecond that two processes make are in no order

    def nearly_over(self, jobs: int) -> bool:
        """Whether the youngest job has ended, which is a look at one row; the queue keeps the order."""
        return self._value(_YOUNGEST) is True

    def left(self, jobs: int) -> int:
        """How many rows wait or run."""
        return int(self._value(_LEFT))

    def times(self) -> list[datetime]:
        """When each one ended."""
        rows = self._connection.execute(_TIMES, {"floor": self._floor}).fetchall()
        assert all(state == "SUCCESS" for state, _ in rows)
        return [finished_at for _, finished_at in rows]

    def _value(self, query: LiteralString) -> Any:
        row = self._connection.execute(query, {"floor": self._floor}).fetchone()
        assert row is not None
        return row[0]


def ends_of(place: Place) -> Ends:
    """The ends of one stack."""
    return CeleryEnds(place) if place.stack == "celery" else TrilhoEnds(place)
