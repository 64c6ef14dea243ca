"""Cancelling: whoever is told that a job is cancelled is told the truth, and whoever comes too late is told so."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from celery import chain

from tests.jobs import rows
from tests.jobs.shop import Query, Undo
from trilho import JobStateError, Task, Trilho, Tx
from trilho.jobs import aftermath, store
from trilho.jobs.job import Claimed
from trilho.jobs.outcome import Death, Outcome
from trilho.testing import Harness

RACES = 300
Bound = Task[..., Any]


def finish(app: Trilho, connection: psycopg.Connection, job: Claimed, outcome: Outcome) -> None:
    """As a runner does it: effect and end are one commit, and a refused end is looked after."""
    try:
        with connection.transaction():
            connection.execute("INSERT INTO effects VALUES (%s)", (job.id,))
            if job.id not in store.settle(connection, [outcome]):
                raise Undo
    except Undo:
        aftermath.settle_cancelled(app, connection, [job.id], job.claim_token)


def race(*runners: Callable[[], None], jitter: float) -> None:
    """Both at once, or nearly."""
    ready = threading.Barrier(len(runners))

    def go(runner: Callable[[], None], pause: float) -> None:
        ready.wait()
        time.sleep(pause)
        runner()

    pauses = [max(0.0, jitter), max(0.0, -jitter)]
    threads = [threading.Thread(target=go, args=pair) for pair in zip(runners, pauses, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("end", ["SUCCESS", "RETRY"])
def test_cancel_that_races_with_the_end_has_one_winner(
    app: Trilho, trilho: Harness, connection: psycopg.Connection, query: Query, end: str
) -> None:
    query("CREATE TABLE effects (name text)")
    answers: dict[str, str] = {}
    ahead = 0.0  # what the loser gets next time, in seconds: they stay close on any machine
    for number in range(RACES if end == "SUCCESS" else RACES // 3):
        job = rows.claimed(connection, f"job-{number}")
        outcome = rows.success(job) if end == "SUCCESS" else rows.retry(job, delay=3600.0)

        def cancel(job: Claimed = job) -> None:
            try:
                answers[job.id] = app.jobs.cancel(job.id).state
            except JobStateError:
                answers[job.id] = "409"

        race(partial(finish, app, connection, job, outcome), cancel, jitter=ahead)
        ahead += -0.0003 if rows.view(connection, job.id).state == "REVOKED" else 0.0003
    states: dict[str, str] = dict(query("SELECT id, state FROM trilho.jobs"))
    effective = {name for (name,) in query("SELECT name FROM effects")}
    refused = {job_id for job_id, answer in answers.items() if answer == "409"}
    if end == "SUCCESS":
        assert {job_id for job_id, state in states.items() if state == "SUCCESS"} == effective == refused
        assert 0.05 < len(refused) / RACES < 0.95, "one of them always won: the test proves nothing"
    else:
        assert refused == set()
    assert {states[job_id] for job_id in states.keys() - refused} == {"REVOKED"}


@pytest.mark.parametrize("then", ["succeeds", "fails", "retries"])
def test_body_that_is_cancelled_while_it_runs_is_revoked_however_it_ends(
    app: Trilho, trilho: Harness, query: Query, then: str
) -> None:
    query("CREATE TABLE effects (name text)")

    @app.task(bind=True, transactional=True)
    def work(self: Bound, *, tx: Tx) -> str:
        tx.connection.execute("INSERT INTO effects VALUES ('a')")
        app.jobs.cancel(self.request.id)
        if then == "fails":
            raise ValueError
        if then == "retries":
            raise self.retry(countdown=3600)
        return "done"

    @app.task
    def after() -> None: ...

    result = chain(work.s(), after.si()).apply_async()
    trilho.run_until_idle()
    jobs = [app.jobs.get(each.id) for each in (result.parent, result)]
    assert [job.state for job in jobs] == ["REVOKED", "REVOKED"]
    assert jobs[0].error == aftermath.CANCELLED
    assert query("SELECT name FROM effects") == []
    with pytest.raises(JobStateError):
        app.jobs.cancel(result.parent.id)


def test_plain_body_that_is_cancelled_while_it_runs_is_revoked(app: Trilho, trilho: Harness) -> None:
    @app.task(bind=True)
    def work(self: Bound) -> str:
        app.jobs.cancel(self.request.id)
        app.jobs.cancel(self.request.id)  # twice is once
        return "done"

    result = work.delay()
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert job.state == "REVOKED"
    assert [attempt.state for attempt in app.jobs.attempts(result.id)] == ["REVOKED"]


@pytest.mark.parametrize(
    "verdict",
    [aftermath.release("SIGTERM"), aftermath.time_out(1.0), aftermath.crash(Death("x"), 3, lambda job: True)],
    ids=["given back", "timed out", "crashed"],
)
def test_cancelled_job_of_a_process_that_is_gone_is_revoked_and_not_run_again(
    app: Trilho, connection: psycopg.Connection, verdict: aftermath.Verdict
) -> None:
    job = rows.claimed(connection)
    app.jobs.cancel(job.id)
    assert aftermath.settle_claim(app, connection, [job.id], job.claim_token, verdict) == 1
    assert rows.view(connection).state == "REVOKED"


def test_cancelled_job_of_a_dead_worker_is_revoked_by_recovery(app: Trilho, connection: psycopg.Connection) -> None:
    by = rows.claimant()
    job = rows.claimed(connection, by=by)
    app.jobs.cancel(job.id)
    verdict = aftermath.crash(Death("its lease ran out", presumed=True), 3, lambda job: True)
    assert aftermath.settle_dead(app, connection, [by.worker], verdict, 10) == 1
    assert (rows.view(connection).state, rows.view(connection).crash_count) == ("REVOKED", 0)
