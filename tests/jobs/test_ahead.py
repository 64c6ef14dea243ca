"""Wake-ups that travel ahead of the commits of their rows."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.jobs import rows
from tests.jobs.shop import Query, Wakeups
from tests.lab.database import Connection, connect
from tests.lab.poll import eventually
from trilho import Trilho
from trilho.jobs import ahead, enqueue

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


def test_wakeup_without_a_row_is_given_up(connection: Connection) -> None:
    assert ahead.claim(connection, ["nothing"], rows.claimant()) == []


def test_first_wakeup_of_a_process_comes_after_its_commit(
    work: Callable[[int], Any], connection: Connection, wakeups: Wakeups, query: Query
) -> None:
    thread = threading.Thread(target=work, args=(1,))
    with connection.transaction():
        connection.execute("LOCK TABLE trilho.jobs")
        thread.start()
        eventually(lambda: query(BLOCKED))
        assert wakeups == []
    thread.join()
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
    thread = threading.Thread(target=work, args=(1,))
    with connection.transaction():
        connection.execute("LOCK TABLE trilho.jobs")
        thread.start()
        eventually(lambda: told)
        eventually(lambda: query(BLOCKED))
    thread.join()
    assert told == [told[0]] * 2
    assert not app.enqueuer.commits_are_quick
