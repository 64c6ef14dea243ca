"""`/queue/stats` over HTTP while very many jobs wait and very many have finished."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from bench.apps import Place
from bench.figures import quantile
from bench.remote import ROOT, plain_environment
from bench.stand import Stand, clear
from bench.table import markdown, number
from bench.worker import Worker
from trilho.embedded.ports import free_port
from trilho.jobs import stats

REQUESTS = 500
SAMPLES = 5
START_TIMEOUT = 60.0

# Of a task that no worker knows: the rows wait and nobody hands them out, however long the benchmark takes.
# Ids that sort before those of the jobs that are measured.
WAITING = """INSERT INTO trilho.jobs (id, task, queue)
SELECT '0-waiting-' || n, 'bench.unknown', 'celery' FROM generate_series(1, %(rows)s) n"""
FINISHED = """INSERT INTO trilho.jobs (id, task, queue, state, args, result, attempt, started_at, finished_at)
SELECT '0-finished-' || n, 'bench.nothing', 'celery', CASE WHEN n %% 1000 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END,
       repeat('x', 109), 'null', 1, clock_timestamp(), clock_timestamp()
FROM generate_series(1, %(rows)s) n"""


def measure(stand: Stand, rows: int) -> list[str]:
    """A table of milliseconds per request, with so many rows waiting and as many finished."""
    place = stand.place("trilho")
    clear(place)
    with Worker(place), _api(place) as port:
        lines = [("empty", *_milliseconds(place, port))]
        with psycopg.connect(place.database_url, autocommit=True) as connection:
            connection.execute(WAITING, {"rows": rows})
            connection.execute(FINISHED, {"rows": rows})
            connection.execute("VACUUM ANALYZE trilho.jobs")
        _wait_for_sample(place, rows)
        lines.append((f"{rows:,} waiting, {rows:,} finished", *_milliseconds(place, port)))
    clear(place)
    return markdown(("`/queue/stats`, ms", "p50", "p99", "one sample of the dispatcher"), lines)


def _milliseconds(place: Place, port: int) -> tuple[str, str, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        times = [_seconds_of_a_request(connection) for _ in range(REQUESTS)]
    with psycopg.connect(place.database_url, autocommit=True) as database:
        samples = [_seconds_of_a_sample(database) for _ in range(SAMPLES)]
    return (
        number(1000 * quantile(times, 0.5)),
        number(1000 * quantile(times, 0.99)),
        number(1000 * quantile(samples, 0.5)),
    )


def _seconds_of_a_request(connection: http.client.HTTPConnection) -> float:
    begun = time.perf_counter()
    connection.request("GET", "/queue/stats")
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"/queue/stats answered {response.status}")
    return time.perf_counter() - begun


def _seconds_of_a_sample(database: psycopg.Connection[tuple[object, ...]]) -> float:
    begun = time.perf_counter()
    stats.sample(database)
    return time.perf_counter() - begun


def _wait_for_sample(place: Place, rows: int) -> None:
    """Until the elected dispatcher has seen the rows; it counts at most a twentieth of the time."""
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        while sum(queue.waiting for queue in stats.read(connection).queues) < rows:
            time.sleep(0.1)


@contextmanager
def _api(place: Place) -> Iterator[int]:
    """The API that `trilho.http` gives to any project; its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "bench.web:api", "--port", str(port), "--log-level", "warning"],
        cwd=ROOT,
        env=plain_environment() | place.environment(),
    )
    try:
        _wait_for_answer(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for_answer(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                _seconds_of_a_request(connection)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
