"""Whatever callers, open transactions, workers and people do: one job of a key at a time, and none is forgotten."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import uuid_utils
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.jobs import rows
from tests.jobs.shop import Shop
from tests.lab import database as databases
from trilho import JobStateError, KeyHeld
from trilho.dispatcher.endings import Decide
from trilho.dispatcher.retention import Retain, keeping
from trilho.jobs import store
from trilho.jobs.unique import Key, Ticket, Unique, UniqueJob, UniqueSink

KEYS = ("x", "y")
OPEN = 2
keys = st.sampled_from(KEYS)
others = st.integers(0, OPEN - 1)


class UniqueMachine(RuleBasedStateMachine):
    """One connection that commits at once, and some that keep their transactions open."""

    shop: Shop
    connection: databases.Connection
    open: list[databases.Connection]

    def __init__(self) -> None:
        super().__init__()
        for raw in self.open:
            raw.rollback()
        self.sink = UniqueSink(lambda jobs: None)
        self.given: dict[str, str] = {}  # of each committed call: the job that it got
        self.unsettled: list[dict[str, str]] = [{} for _ in self.open]
        self.has: list[dict[str, str]] = [{} for _ in self.open]  # what each open transaction knows of a key
        for table in ("jobs", "job_keys", "job_attempts"):
            self.connection.execute(f"DELETE FROM trilho.{table}".encode())

    def call(self, connection: databases.Connection, key: str, job_id: str | None = None) -> tuple[str, str]:
        asked = job_id or str(uuid_utils.uuid7())
        row = UniqueJob(rows.new(asked, kwargs=f'"{key}"'), Key(key, "finished", None), Ticket(asked, Unique()))
        returned = connection.execute(self.sink.statement.encode(), self.sink.parameters([row])).fetchall()
        self.sink.check([row], returned)
        return asked, row.ticket.id

    def live(self, key: str) -> list[str]:
        """Jobs of a key that wait for a worker or run."""
        query = """SELECT id FROM trilho.jobs JOIN trilho.job_keys ON job_id = id
                   WHERE key = %s AND finished_at IS NULL AND NOT held"""
        return [row[0] for row in self.connection.execute(query, (key,))]

    # ---- callers

    @rule(key=keys)
    def enqueue(self, key: str) -> None:
        live = self.live(key)
        asked, given = self.call(self.connection, key)
        self.given[asked] = given
        assert live in ([], [given])

    @rule(key=keys)
    def ask_again_after_a_lost_answer(self, key: str) -> None:
        asked, given = self.call(self.connection, key)
        assert given != asked or self.call(self.connection, key, asked) == (asked, asked)
        self.given[asked] = given

    @rule(key=keys, number=others)
    def enqueue_in_an_open_transaction(self, key: str, number: int) -> None:
        asked, given = self.call(self.open[number], key)
        self.unsettled[number][asked] = given

    @rule(number=others, commit=st.booleans())
    def end_the_transaction(self, number: int, commit: bool) -> None:
        if commit:
            self.open[number].commit()
            self.given |= self.unsettled[number]
        else:
            self.open[number].rollback()
        self.unsettled[number] = {}

    # ---- workers, people, time

    @rule(key=keys, state=st.sampled_from(["SUCCESS", "FAILURE"]))
    def run(self, key: str, state: str) -> None:
        for job in store.claim(self.connection, self.live(key), rows.claimant()):
            rows.settle(self.connection, store.Finish(job.id, job.claim_token, state))

    @rule(key=keys)
    def run_and_wait_for_the_next_attempt(self, key: str) -> None:
        for job in store.claim(self.connection, self.live(key), rows.claimant()):
            rows.settle(self.connection, rows.retry(job))

    @rule(data=st.data())
    def run_again(self, data: st.DataObject) -> None:
        job_id, key = self.some(data, "finished_at IS NOT NULL")
        try:
            self.shop.jobs.retry(job_id)
        except KeyHeld:
            assert self.others_of(key, job_id)
        except JobStateError:
            pass  # a SUCCESS

    def others_of(self, key: str, job_id: str) -> bool:
        """Whether another job of the key waits, is undecided about, or runs."""
        query = """SELECT 1 FROM trilho.jobs JOIN trilho.job_keys ON job_id = id
                   WHERE key = %s AND id <> %s AND finished_at IS NULL"""
        return self.connection.execute(query, (key, job_id)).fetchone() is not None

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id, _ = self.some(data, "finished_at IS NULL")
        self.shop.jobs.cancel(job_id)

    def some(self, data: st.DataObject, condition: str) -> tuple[str, str]:
        query = f"SELECT id, key FROM trilho.jobs JOIN trilho.job_keys ON job_id = id WHERE {condition} ORDER BY id"
        found = self.connection.execute(query.encode()).fetchall()
        if not found:
            return data.draw(st.just(self.seed())), KEYS[0]
        chosen: tuple[str, str] = data.draw(st.sampled_from(found))
        return chosen

    def seed(self) -> str:
        """A job without a key, for rules that find none."""
        job_id = str(uuid4())
        rows.enqueue(self.connection, rows.new(job_id))
        return job_id

    @rule()
    def dispatcher_decides(self) -> None:
        Decide(self.shop)(self.connection)

    @precondition(lambda self: not any(self.unsettled))
    @rule()
    def old_jobs_go(self) -> None:
        self.connection.execute("UPDATE trilho.jobs SET finished_at = '2020-01-01' WHERE finished_at IS NOT NULL")
        retain = Retain(keeping(self.shop.settings))
        while retain(self.connection):
            retain._not_before = 0.0
        left = {row[0] for row in self.connection.execute("SELECT id FROM trilho.jobs")}
        self.given = {asked: given for asked, given in self.given.items() if given in left}

    # ---- what must always hold

    @invariant()
    def one_job_of_a_key_at_a_time(self) -> None:
        assert all(len(self.live(key)) <= 1 for key in KEYS)

    @invariant()
    def every_call_got_a_job(self) -> None:
        known = {row[0] for row in self.connection.execute("SELECT id FROM trilho.jobs")}
        assert set(self.given.values()) <= known

    @invariant()
    def who_is_held_is_decided_about_later(self) -> None:
        query = "SELECT count(*) FROM trilho.jobs LEFT JOIN trilho.job_keys ON job_id = id WHERE held AND NOT contends"
        assert self.connection.execute(query).fetchone() == (0,)

    def teardown(self) -> None:
        """When every transaction is over, two looks of the dispatcher leave nobody undecided."""
        for raw in self.open:
            raw.rollback()
        for _ in range(2):
            Decide(self.shop)(self.connection)
        self.one_job_of_a_key_at_a_time()
        assert self.connection.execute("SELECT count(*) FROM trilho.jobs WHERE held").fetchone() == (0,)


@pytest.fixture
def machine(database: str) -> Iterator[type[UniqueMachine]]:
    shop = Shop(database=database)
    name = database.rpartition("/")[2]
    with databases.connect(database) as connection, ExitStack() as stack:
        connection.execute(f"ALTER DATABASE \"{name}\" SET lock_timeout = '10s'".encode())  # who waits has lost
        others = [stack.enter_context(databases.connect(database)) for _ in range(OPEN)]
        for raw in others:
            raw.autocommit = False
        fields: dict[str, Any] = {"shop": shop, "connection": connection, "open": others}
        yield type("Machine", (UniqueMachine,), fields)
    shop.database.close()
    shop.close()


@pytest.mark.timeout(400)  # a failure is made small before it is shown
def test_any_interleaving_leaves_one_job_of_a_key_at_a_time(machine: type[UniqueMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=timedelta(seconds=20),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
