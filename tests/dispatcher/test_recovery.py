"""What a dead process left behind runs again, or comes to an end."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, chord

from tests.jobs.rows import claim, claimant, claimed, column, enqueue, new, release, settle, success, view
from tests.lab.database import Connection, connect
from trilho import Trilho
from trilho.dispatcher.recovery import BATCH, Recover
from trilho.faults import Faults, FaultTripped, parse
from trilho.processes import store as processes
from trilho.processes.store import ProcessInfo
from trilho.testing import Harness


@pytest.fixture
def recover(app: Trilho, connection: Connection) -> Recover:
    """On a server that has been up for long."""
    processes.declare_lost(connection)
    connection.execute("UPDATE trilho.server_epoch SET since = now() - interval '1 hour'")
    return Recover(app)


def worker(connection: Connection, *, dead: bool = True) -> UUID:
    incarnation = uuid4()
    processes.register(connection, incarnation, ProcessInfo("worker", "w@host", "host", 1, "1", 10.0))
    if dead:
        connection.execute(
            "UPDATE trilho.processes SET seen_at = now() - interval '1 minute' WHERE incarnation = %s", (incarnation,)
        )
    return incarnation


def test_jobs_of_a_dead_process_run_again_and_those_of_a_live_one_go_on(
    recover: Recover, connection: Connection
) -> None:
    claimed(connection, "dead", by=claimant(worker(connection)))
    alive = claimed(connection, "alive", by=claimant(worker(connection, dead=False)))
    assert recover(connection) == 1
    lost = view(connection, "dead")
    assert (lost.state, lost.crash_count, lost.error) == ("PENDING", 1, "worker lost: its lease ran out")
    assert settle(connection, success(alive)) == {"alive"}
    assert [
        (state, crash, presumed)
        for state, crash, presumed in connection.execute("SELECT outcome, crash, presumed FROM trilho.job_attempts")
    ] == [("LOST", True, True)]


def test_process_without_a_row_counts_as_dead(recover: Recover, connection: Connection) -> None:
    claimed(connection)
    assert recover(connection) == 1


def test_nothing_is_recovered_until_one_lease_after_the_server_came_up(app: Trilho, connection: Connection) -> None:
    claimed(connection, by=claimant(worker(connection)))
    assert Recover(app)(connection) == 0
    assert view(connection).state == "STARTED"


def test_more_than_a_batch_is_recovered_in_one_look(recover: Recover, connection: Connection) -> None:
    by = claimant(worker(connection))
    ids = [f"job-{number:04}" for number in range(BATCH + 20)]
    enqueue(connection, *(new(job_id) for job_id in ids))
    claim(connection, *ids, by=by)
    assert recover(connection) == len(ids)


def test_second_recoverer_finds_nothing_left(recover: Recover, connection: Connection, database: str) -> None:
    claimed(connection, by=claimant(worker(connection)))
    recover(connection)
    with connect(database) as other:
        assert recover(other) == 0
    assert view(connection).crash_count == 1


def test_finish_that_was_faster_than_recovery_counts(recover: Recover, connection: Connection) -> None:
    job = claimed(connection, by=claimant(worker(connection)))
    settle(connection, success(job))
    assert recover(connection) == 0
    assert view(connection).state == "SUCCESS"


def test_recovered_job_is_handed_out_again(recover: Recover, connection: Connection) -> None:
    claimed(connection, by=claimant(worker(connection)))
    recover(connection)
    assert (column(connection, "sent_at"), column(connection, "worker")) == (None, None)


@pytest.mark.parametrize("point", ["recover.selected", "recover.before_commit", "recover.after_commit"])
def test_fault_during_recovery_leaves_the_job_recoverable(
    app: Trilho, recover: Recover, connection: Connection, point: str
) -> None:
    claimed(connection, by=claimant(worker(connection)))
    app.database.faults = Faults(parse(f"{point}=raise"))
    with pytest.raises(FaultTripped):
        recover(connection)
    recover(connection)
    shown = view(connection)
    assert (shown.state, shown.crash_count) == ("PENDING", 1)


def crash_until_it_ends(recover: Recover, connection: Connection, job_id: str) -> int:
    """Let every process that claims the job die; how often it began."""
    began = 0
    while view(connection, job_id).state == "PENDING":
        connection.execute("UPDATE trilho.jobs SET run_at = now() WHERE id = %s", (job_id,))
        assert claim(connection, job_id, by=claimant(worker(connection)))
        recover(connection)
        began += 1
    return began


@pytest.mark.parametrize(("own", "began"), [(None, 4), (0, 1), (6, 7)])
def test_poison_ends_as_failure_after_its_limit(
    recover: Recover, connection: Connection, own: int | None, began: int
) -> None:
    enqueue(connection, new(max_crashes=own))
    assert crash_until_it_ends(recover, connection, "one") == began
    shown = view(connection)
    assert (shown.state, shown.crash_count) == ("FAILURE", began)
    assert str(shown.error).startswith("WorkerLostError: its lease ran out; the job has ended its process")


def test_poison_ends_what_hangs_on_it(app: Trilho, trilho: Harness, recover: Recover, connection: Connection) -> None:
    seen: list[str] = []

    @app.task
    def poison() -> None: ...

    @app.task
    def then(value: Any = None) -> None: ...

    @app.task
    def alarm(job_id: str) -> None:
        seen.append(job_id)

    linked = chain(poison.s().on_error(alarm.s()), then.s(), then.s()).apply_async()
    fanned = chord([poison.s(), then.s()])(then.s())
    first, member = linked.parent.parent.id, fanned.parent.results[0].id
    for job_id in (first, member):
        crash_until_it_ends(recover, connection, job_id)
    trilho.run_until_idle()
    assert [app.jobs.get(each.id).state for each in (linked.parent, linked, fanned)] == ["FAILURE"] * 3
    assert seen == [first]


def test_backend_that_ran_under_a_dead_claim_is_ended_first(
    recover: Recover, connection: Connection, database: str
) -> None:
    """Its row lock would hold up whoever runs the job next."""
    job = claimed(connection, by=claimant(worker(connection)))
    with connect(database) as body:
        body.execute(f"SET application_name = 'trilho:{job.claim_token}'".encode())
        body.execute("BEGIN")
        body.execute("SELECT 1 FROM trilho.jobs WHERE id = 'one' FOR UPDATE")
        assert recover(connection) == 1
        with pytest.raises(Exception, match=r"terminat|closed"):
            body.execute("SELECT 1")


def test_job_that_was_given_back_is_nobodys_crash(recover: Recover, connection: Connection) -> None:
    settle(connection, release(claimed(connection, by=claimant(worker(connection)))))
    assert recover(connection) == 0
    assert view(connection).crash_count == 0
