"""Wake-ups that travel ahead of the commits of their rows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.jobs import rows
from tests.jobs.shop import Query, Wakeups
from tests.lab.database import Connection, connect
from tests.lab.poll import eventually
from trilho import Trilho
from trilho.jobs import ahead, enqueue, store
from trilho.jobs.runner import ABSENT, SliceOrder
from trilho.testing import Harness

BLOCKED = """
    SELECT 1 FROM pg_locks WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture
def work(app: Trilho) -> Callable[[int], Any]:
    @app.task(name="work")
    def work(number: int) -> None: ...

    return work.delay


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "PATIENCE", 60.0)


def claim_in_thread(database: str, *ids: str) -> Callable[[], list[str]]:
    """Claim as a worker does; what is returned waits for the ids that it got."""
    won: list[str] = []

    def run() -> None:
        with connect(database) as mine:
            won.extend(job.id for job in ahead.claim(mine, ids, rows.claimant()))

    thread = threading.Thread(target=run)
    thread.start()

    def joined() -> list[str]:
        thread.join(60)
        return won

    return joined


@contextmanager
def during_a_commit(connection: Connection, query: Query, call: Callable[..., object], *args: Any) -> Iterator[None]:
    """The call's row cannot be written while the block runs, and is there after it."""
    thread = threading.Thread(target=call, args=args)
    with connection.transaction():
        connection.execute("LOCK TABLE trilho.jobs")
        thread.start()
        eventually(lambda: query(BLOCKED))
        yield
    thread.join()


@pytest.mark.usefixtures("patient")
def test_row_that_appears_in_a_moment_is_waited_for(connection: Connection, database: str) -> None:
    with connection.transaction():
        rows.enqueue(connection, rows.new("late"))
        won = claim_in_thread(database, "late")
    assert won() == ["late"]


@pytest.mark.usefixtures("patient")
def test_rows_that_are_there_do_not_get_lost_over_one_that_is_late(connection: Connection, database: str) -> None:
    rows.enqueue(connection, rows.new("a"), rows.new("b"))
    with connection.transaction():
        rows.enqueue(connection, rows.new("late"))
        won = claim_in_thread(database, "a", "late", "b")
        eventually(lambda: rows.column(connection, "state", "b"), lambda state: state == "STARTED")
    assert sorted(won()) == ["a", "b", "late"]
    assert rows.column(connection, "suspect", "late")


@pytest.mark.usefixtures("patient")
def test_nothing_is_waited_for_that_has_a_row(connection: Connection) -> None:
    rows.settle(connection, rows.success(rows.claimed(connection, "done")))
    rows.enqueue(connection, rows.new("a"))
    assert [job.id for job in ahead.claim(connection, ["done", "a"], rows.claimant())] == ["a"]


def test_row_that_appears_between_two_looks_is_claimed(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = store.unknown

    def late(other: Connection, ids: Any) -> set[str]:
        rows.enqueue(connection, rows.new("late"))
        return unknown(other, ids)

    monkeypatch.setattr(store, "unknown", late)
    assert [job.id for job in ahead.claim(connection, ["late"], rows.claimant())] == ["late"]


def test_wakeup_without_a_row_is_given_up(connection: Connection) -> None:
    assert ahead.claim(connection, ["nothing"], rows.claimant()) == []


def test_first_wakeup_of_a_process_comes_after_its_commit(
    work: Callable[[int], Any], connection: Connection, wakeups: Wakeups, query: Query
) -> None:
    with during_a_commit(connection, query, work, 1):
        assert wakeups == []
    assert len(wakeups) == 1


def test_wakeup_goes_ahead_where_commits_are_quick_and_again_after_one_that_was_not(
    app: Trilho, work: Callable[[int], Any], connection: Connection, query: Query
) -> None:
    told: list[str] = []

    class Told:
        def push(self, jobs: Any) -> None:
            told.extend(job.id for job in jobs)

    app.enqueuer = enqueue.Enqueuer(app.database, Told())
    eventually(lambda: (work(0), app.enqueuer.commits_are_quick)[1])
    told.clear()
    with during_a_commit(connection, query, work, 1):
        eventually(lambda: told)
    assert told == [told[0]] * 2
    assert not app.enqueuer.commits_are_quick


def test_wakeup_of_an_id_that_may_belong_to_another_job_comes_after_the_commit(
    app: Trilho, connection: Connection, wakeups: Wakeups, query: Query
) -> None:
    @app.task(name="work")
    def work(number: int) -> None: ...

    eventually(lambda: (work.delay(0), app.enqueuer.commits_are_quick)[1])
    wakeups.clear()
    with during_a_commit(connection, query, partial(work.apply_async, (1,), task_id="mine")):
        assert wakeups == []
    assert [job.id for job in wakeups] == ["mine"]


def test_jobs_of_a_slice_that_do_not_wait_are_told_before_a_body_runs(app: Trilho, trilho: Harness) -> None:
    told: list[dict[str, str]] = []
    seen: list[int] = []

    @app.task(name="look")
    def look() -> None:
        seen.append(len(told))

    look.delay()
    trilho.run_until_idle()  # gives the task its tracer
    app.runner.tell = lambda token, report: told.append({job_id: ran.state for job_id, ran in report.items()})
    result = look.delay()
    report = app.runner.work(SliceOrder((result.id, "absent"), uuid4(), uuid4(), "w", 0))
    assert (told, seen) == ([{"absent": ABSENT}], [0, 1])
    assert {job_id: ran.state for job_id, ran in report.items()} == {result.id: "SUCCESS"}
