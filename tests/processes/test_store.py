"""Leases, epochs and duties, as rows."""

from uuid import UUID, uuid4

import pytest

from tests.jobs.rows import claim, claimant, claimed, column, retry, settle
from tests.lab.database import Connection
from trilho.jobs.outcome import LOST, Reschedule
from trilho.jobs.store import end_backends
from trilho.processes import store
from trilho.processes.store import ProcessInfo, Pulse

LEASE = 10.0
LONG_AGO = "now() - interval '1 hour'"


def register(connection: Connection, incarnation: UUID | None = None, **fields: object) -> UUID:
    incarnation = incarnation or uuid4()
    given = {"kind": "worker", "name": "w@host", "hostname": "host", "pid": 1, "version": "1", "lease": LEASE}
    store.register(connection, incarnation, ProcessInfo(**{**given, **fields}))  # type: ignore[arg-type]
    return incarnation


def change(connection: Connection, incarnation: UUID, values: str) -> None:
    connection.execute(f"UPDATE trilho.processes SET {values} WHERE incarnation = %s".encode(), (incarnation,))


def state(connection: Connection, incarnation: UUID) -> str | None:
    row = connection.execute("SELECT state FROM trilho.processes WHERE incarnation = %s", (incarnation,)).fetchone()
    return row and row[0]


@pytest.fixture
def old_server(connection: Connection) -> None:
    """PostgreSQL has been up for longer than a lease."""
    store.declare_lost(connection)
    connection.execute(f"UPDATE trilho.server_epoch SET since = {LONG_AGO}".encode())


# ---- renewing


def test_registering_again_is_harmless(connection: Connection) -> None:
    incarnation = register(connection)
    register(connection, incarnation, name="other@host")
    assert connection.execute("SELECT name FROM trilho.processes").fetchall() == [("w@host",)]


def test_renewal_writes_what_the_process_says(connection: Connection) -> None:
    incarnation = register(connection)
    change(connection, incarnation, f"seen_at = {LONG_AGO}")
    pulse = Pulse("stopping", 2, 9, 1, 1000.5, ("a", "b"), {"a": 7})
    assert store.renew(connection, incarnation, pulse)
    row = connection.execute(
        "SELECT state, running, processed, dropped, extract(epoch FROM last_progress)::float, queues, finished,"
        " seen_at > now() - interval '1 minute' FROM trilho.processes"
    ).fetchone()
    assert row == ("stopping", 2, 9, 1, 1000.5, ["a", "b"], {"a": 7}, True)


@pytest.mark.parametrize("ended", ["lost", "stopped", "forgotten"])
def test_incarnation_that_was_declared_over_cannot_be_renewed(connection: Connection, ended: str) -> None:
    incarnation = register(connection)
    if ended == "forgotten":
        connection.execute("DELETE FROM trilho.processes")
    else:
        change(connection, incarnation, f"state = '{ended}'")
    assert not store.renew(connection, incarnation, Pulse())


def test_process_that_leaves_gives_up_its_duties(connection: Connection) -> None:
    incarnation = register(connection)
    assert store.take_duty(connection, "sample", incarnation, 60)
    store.leave(connection, incarnation)
    assert state(connection, incarnation) == "stopped"
    assert store.take_duty(connection, "sample", uuid4(), 60)


# ---- losing


@pytest.mark.usefixtures("old_server")
def test_process_whose_lease_ran_out_is_declared_lost_once(connection: Connection) -> None:
    alive, dead = register(connection), register(connection, name="dead@host")
    change(connection, dead, f"seen_at = {LONG_AGO}")
    assert store.declare_lost(connection) == [(dead, "dead@host")]
    assert store.declare_lost(connection) == []
    assert (state(connection, alive), state(connection, dead)) == ("running", "lost")


def test_nothing_is_declared_lost_until_one_lease_after_the_server_came_up(connection: Connection) -> None:
    dead = register(connection)
    change(connection, dead, f"seen_at = {LONG_AGO}")
    assert store.declare_lost(connection) == []
    connection.execute("UPDATE trilho.server_epoch SET since = now() - interval '9 seconds'")
    assert store.declare_lost(connection) == []
    connection.execute("UPDATE trilho.server_epoch SET since = now() - interval '11 seconds'")
    assert [name for _, name in store.declare_lost(connection)] == ["w@host"]


@pytest.mark.usefixtures("old_server")
def test_restart_of_the_server_begins_a_new_epoch(connection: Connection) -> None:
    dead = register(connection)
    change(connection, dead, f"seen_at = {LONG_AGO}")
    connection.execute("UPDATE trilho.server_epoch SET epoch = 'before the restart'")
    assert store.declare_lost(connection) == []
    row = connection.execute("SELECT epoch, since > now() - interval '1 minute' FROM trilho.server_epoch").fetchone()
    assert row is not None
    assert row[0] != "before the restart"
    assert row[1]


@pytest.mark.usefixtures("old_server")
def test_epoch_is_the_same_for_every_connection(connection: Connection) -> None:
    before = connection.execute("SELECT * FROM trilho.server_epoch").fetchall()
    connection.execute("SET timezone = 'Asia/Tokyo'")
    connection.execute("SET datestyle = 'German'")
    store.declare_lost(connection)
    connection.execute("RESET ALL")
    assert connection.execute("SELECT * FROM trilho.server_epoch").fetchall() == before


def test_no_special_rights_are_needed(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE ordinary")
        connection.execute("GRANT USAGE ON SCHEMA trilho TO ordinary")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA trilho TO ordinary")
        connection.execute("SET LOCAL ROLE ordinary")
        register(connection)
        assert store.declare_lost(connection) == []
        end_backends(connection, [uuid4()])


@pytest.mark.usefixtures("old_server")
def test_owners_without_life_are_found_also_without_a_row(connection: Connection) -> None:
    alive, stopped, unknown = register(connection), register(connection), uuid4()
    change(connection, stopped, "state = 'stopped'")
    for number, worker in enumerate((alive, stopped, unknown)):
        claimed(connection, f"job-{number}", by=claimant(worker))
    assert set(store.dead_with_jobs(connection, LEASE)) == {stopped, unknown}


def test_owners_without_a_row_get_one_lease_after_the_server_came_up(connection: Connection) -> None:
    claimed(connection)
    store.declare_lost(connection)
    assert store.dead_with_jobs(connection, LEASE) == []


def test_survivor_takes_back_what_was_presumed_of_it(connection: Connection) -> None:
    survivor, other = uuid4(), uuid4()
    for job_id, crash, presumed, worker in (
        ("presumed", True, True, survivor),
        ("seen", True, False, survivor),
        ("of another", True, True, other),
    ):
        claimed(connection, job_id)
        connection.execute("UPDATE trilho.jobs SET crash_count = 2 WHERE id = %s", (job_id,))
        connection.execute(
            "INSERT INTO trilho.job_attempts (job_id, number, outcome, crash, presumed, worker)"
            " VALUES (%s, 1, 'LOST', %s, %s, %s)",
            (job_id, crash, presumed, worker),
        )
    for _ in range(2):
        store.absolve(connection, survivor)
        assert [column(connection, "crash_count", j) for j in ("presumed", "seen", "of another")] == [1, 2, 2]


def test_survivor_takes_nothing_back_from_crashes_after_an_attempt_that_ended_in_order(connection: Connection) -> None:
    """A retry sets the count back; what was presumed before it is in the count no more."""
    survivor = uuid4()
    lost = claimed(connection, by=claimant(survivor))
    crash = Reschedule("one", lost.claim_token, LOST, crash=True, presumed=True)
    settle(connection, crash)
    settle(connection, retry(claim(connection)[0]))
    [again] = claim(connection)
    settle(connection, Reschedule("one", again.claim_token, LOST, crash=True))
    assert column(connection, "crash_count") == 1
    store.absolve(connection, survivor)
    assert column(connection, "crash_count") == 1


# ---- duties


def test_duty_has_one_owner_at_a_time(connection: Connection) -> None:
    first, second = uuid4(), uuid4()
    assert store.take_duty(connection, "sample", first, 60)
    assert store.take_duty(connection, "sample", first, 60)
    assert not store.take_duty(connection, "sample", second, 60)
    assert store.take_duty(connection, "publish", second, 60)


def test_duty_is_free_again_when_its_time_is_over(connection: Connection) -> None:
    first, second = uuid4(), uuid4()
    store.take_duty(connection, "sample", first, 60)
    connection.execute("UPDATE trilho.duties SET until = now() - interval '1 second'")
    assert store.take_duty(connection, "sample", second, 60)
    assert not store.take_duty(connection, "sample", first, 60)


# ---- what lives


def test_only_live_processes_know_tasks_and_queues(connection: Connection) -> None:
    register(connection, tasks=("a", "b"), queues=("q",))
    register(connection, tasks=("b", "c"), queues=("r",))
    late, stopped = (
        register(connection, tasks=("late",), queues=("s",)),
        register(connection, tasks=("d",), queues=("t",)),
    )
    change(connection, late, f"seen_at = {LONG_AGO}")
    change(connection, stopped, "state = 'stopped'")
    assert sorted(store.known_tasks(connection)) == ["a", "b", "c"]
    assert sorted(store.known_queues(connection)) == ["q", "r"]


def test_nobody_knows_anything_in_an_empty_database(connection: Connection) -> None:
    assert (store.known_tasks(connection), store.known_queues(connection)) == ([], [])


def test_ended_processes_are_forgotten_after_a_day_but_not_while_they_own_jobs(connection: Connection) -> None:
    owner, old, recent, running = (register(connection, name=name) for name in ("owner", "old", "recent", "running"))
    for incarnation in (owner, old):
        change(connection, incarnation, "state = 'lost', seen_at = now() - interval '2 days'")
    change(connection, recent, "state = 'stopped'")
    change(connection, running, "seen_at = now() - interval '2 days'")
    claimed(connection, by=claimant(owner))
    store.forget(connection)
    rows = connection.execute("SELECT name FROM trilho.processes ORDER BY name").fetchall()
    assert [name for (name,) in rows] == ["owner", "recent", "running"]
