"""Statistics are read from samples that one dispatcher writes, and are right."""

import time
from uuid import UUID, uuid4

import pytest

from tests.jobs.rows import TASK, claim, claimed, enqueue, failure, new, settle, success
from tests.lab.database import Connection
from trilho import QueueDepth, Trilho
from trilho.jobs import stats
from trilho.processes import store as processes
from trilho.processes.store import ProcessInfo, Pulse

A_DAY = "interval '1 day'"


def worker(connection: Connection, name: str = "w@host", **pulse: object) -> UUID:
    incarnation = uuid4()
    info = ProcessInfo(
        "worker", name, "host", 7, "1", 10.0, pool="prefork", concurrency=2, queues=("celery",), tasks=(TASK,)
    )
    processes.register(connection, incarnation, info)
    processes.renew(connection, incarnation, Pulse(queues=("celery",), **pulse))  # type: ignore[arg-type]
    return incarnation


def depth(app: Trilho, name: str = "celery") -> QueueDepth:
    return next(queue for queue in app.jobs.stats().queues if queue.name == name)


def test_nothing_is_shown_before_the_first_sample(app: Trilho) -> None:
    shown = app.jobs.stats()
    assert (shown.workers, shown.queues, shown.failures) == ([], [], {"last_hour": 0, "last_minute": 0})


def test_sample_counts_each_state_once(app: Trilho, connection: Connection) -> None:
    enqueue(connection, *(new(f"sent-{n}") for n in range(3)), *(new(f"unsent-{n}", send=False) for n in range(2)))
    enqueue(connection, new("held", held=True, send=False), new("elsewhere", queue="low"))
    connection.execute(f"UPDATE trilho.jobs SET run_at = now() + {A_DAY} WHERE id = 'unsent-0'".encode())
    claimed(connection, "running")
    settle(connection, success(claimed(connection, "done")), failure(claimed(connection, "failed")))
    stats.sample(connection)
    shown = depth(app)
    assert (shown.waiting, shown.scheduled, shown.running) == (4, 1, 1)
    assert (depth(app, "low").waiting, depth(app, "low").running) == (1, 0)


def test_age_is_that_of_the_oldest_that_waits(app: Trilho, connection: Connection) -> None:
    enqueue(connection, new("old"), new("new"))
    connection.execute("UPDATE trilho.jobs SET sent_at = now() - interval '90 seconds' WHERE id = 'old'")
    stats.sample(connection)
    age = depth(app).oldest_waiting_seconds
    assert age is not None
    assert 89 < age < 120


def test_queue_of_a_live_worker_is_shown_also_while_it_is_empty(app: Trilho, connection: Connection) -> None:
    worker(connection)
    stats.sample(connection)
    shown = depth(app)
    assert (shown.waiting, shown.scheduled, shown.running, shown.oldest_waiting_seconds) == (0, 0, 0, None)


def test_throughput_is_what_the_workers_finished_in_the_last_minute(app: Trilho, connection: Connection) -> None:
    incarnation = worker(connection, finished={"celery": 100})
    stats.sample(connection)
    connection.execute("UPDATE trilho.samples SET at = at - interval '30 seconds'")
    processes.renew(connection, incarnation, Pulse(queues=("celery",), finished={"celery": 160}))
    stats.sample(connection)
    assert 100 < depth(app).finished_per_minute < 130


def test_worker_that_began_anew_does_not_make_throughput_negative(app: Trilho, connection: Connection) -> None:
    incarnation = worker(connection, finished={"celery": 100})
    stats.sample(connection)
    connection.execute("UPDATE trilho.samples SET at = at - interval '30 seconds'")
    connection.execute("DELETE FROM trilho.processes WHERE incarnation = %s", (incarnation,))
    stats.sample(connection)
    assert depth(app).finished_per_minute == 0


def test_workers_are_shown_with_what_they_said(app: Trilho, connection: Connection) -> None:
    now = time.time()
    worker(connection, "w1@host", running=1, processed=9, last_progress=now)
    [shown] = app.jobs.stats().workers
    assert (shown.name, shown.hostname, shown.pid, shown.pool, shown.concurrency) == (
        "w1@host",
        "host",
        7,
        "prefork",
        2,
    )
    assert (shown.state, shown.running, shown.processed) == ("running", 1, 9)
    assert shown.last_progress is not None
    assert abs(shown.last_progress.timestamp() - now) < 0.01


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("seen_at = now() - interval '11 seconds'", ["lost"]),
        ("state = 'stopping'", ["stopping"]),
        ("state = 'stopped'", []),
        ("state = 'lost'", ["lost"]),
        ("state = 'lost', seen_at = now() - interval '2 hours'", []),
        ("kind = 'dispatcher'", []),
    ],
)
def test_state_of_a_worker_is_never_better_than_its_lease(
    app: Trilho, connection: Connection, change: str, shown: list[str]
) -> None:
    worker(connection)
    connection.execute(f"UPDATE trilho.processes SET {change}".encode())
    assert [each.state for each in app.jobs.stats().workers] == shown


def test_failures_are_counted_by_when_they_ended(app: Trilho, connection: Connection) -> None:
    enqueue(connection, *(new(job_id) for job_id in "abcd"))
    settle(connection, *(failure(job) for job in claim(connection, *"abc")))
    connection.execute("UPDATE trilho.jobs SET finished_at = now() - interval '10 minutes' WHERE id = 'a'")
    connection.execute("UPDATE trilho.jobs SET finished_at = now() - interval '2 hours' WHERE id = 'b'")
    assert app.jobs.stats().failures == {"last_hour": 2, "last_minute": 1}


def test_old_samples_are_forgotten(connection: Connection) -> None:
    enqueue(connection)
    stats.sample(connection)
    connection.execute("UPDATE trilho.samples SET at = at - interval '2 hours'")
    stats.sample(connection)
    stats.forget_samples(connection)
    assert connection.execute("SELECT count(*) FROM trilho.samples").fetchone() == (1,)
