"""Any sequence of transitions, by any number of claims old and new, keeps the rules of a job."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.jobs import rows
from tests.jobs.shop import Shop
from tests.lab import database as databases
from trilho import JobStateError, UnknownJob
from trilho.dispatcher.retention import Retain, keeping
from trilho.jobs import aftermath, store
from trilho.jobs.job import FINISHED, RUNNING, WAITING, Claimed
from trilho.jobs.outcome import Death, crash_pause
from trilho.processes import store as processes

IDS = ("a", "b", "c")
WORKERS = tuple(UUID(int=number) for number in (1, 2))
LIMIT = 2
LATER = datetime(2100, 1, 1, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)

ids = st.sampled_from(IDS)
workers = st.sampled_from(WORKERS)


@dataclass
class Model:
    """What a job must be."""

    args: str
    held: bool = False
    due: bool = True
    expired: bool = False
    cancelled: bool = False
    state: str = "PENDING"
    attempt: int = 0
    crashes: int = 0
    token: UUID | None = None
    worker: UUID | None = None
    presumed: list[UUID] = field(default_factory=list)  # workers whose expiry was counted as a crash
    suspect: bool = False  # claimed together with others, and nobody saw its process die

    def claimable(self, alone: bool) -> bool:
        innocent = not self.suspect and self.crashes == 0
        return self.state in WAITING and not self.held and self.due and (alone or innocent)

    def wait(self, state: str, due: bool = True) -> None:
        self.state, self.due, self.worker, self.suspect = state, due, None, False

    def crash(self, presumed: bool) -> None:
        if presumed and self.suspect:
            self.wait("PENDING")
            self.token, self.suspect = None, True
            return
        self.crashes += 1
        if presumed and self.worker is not None:
            self.presumed.append(self.worker)
        if self.crashes > LIMIT:
            self.state = "FAILURE"
        else:
            self.wait("PENDING", due=crash_pause(self.crashes) == 0)
            self.token = None


class JobMachine(RuleBasedStateMachine):
    """Rules are the verbs; the model says what each may do."""

    shop: Shop
    connection: databases.Connection
    claims: Bundle[Claimed] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Model] = {}
        self.ended: dict[str, tuple[Any, ...] | None] = {}  # the whole row, as it was when it ended
        self.completions: Counter[UUID] = Counter()
        for table in ("jobs", "job_attempts", "processes"):
            self.connection.execute(f"DELETE FROM trilho.{table}".encode())

    # ---- coming to be

    @rule(job_id=ids, args=st.sampled_from(["[1]", "[2]"]), held=st.booleans(), due=st.booleans())
    def enqueue(self, job_id: str, args: str, held: bool, due: bool) -> None:
        job = rows.new(job_id, args="[]" if held else args, held=held, run_at=None if due or held else LATER)
        written = rows.enqueue(self.connection, job)
        known = self.model.get(job_id)
        if known is None:
            self.model[job_id] = Model(job.args, held, due or held)
        elif known.held and not held:
            known.args, known.held, known.due, known.expired = args, False, due, False
        assert (job_id in written) == (known is None or held or self.model[job_id].args == args)

    # ---- claims

    @rule(target=claims, wanted=st.sets(ids, min_size=1), worker=workers)
    def claim(self, wanted: set[str], worker: UUID) -> Any:
        claimant = rows.claimant(worker)
        claimed = sorted(store.claim(self.connection, sorted(wanted), claimant), key=lambda job: job.id)
        alone = len(wanted) == 1
        assert {job.id for job in claimed} == {i for i in wanted if i in self.model and self.model[i].claimable(alone)}
        again = store.claim(self.connection, sorted(wanted), claimant)
        assert sorted(job.id for job in again) == sorted(job.id for job in claimed)
        for job in claimed:
            model = self.model[job.id]
            assert (job.ending is None) == (not model.cancelled and not model.expired)
            model.attempt += 0 if model.expired else 1
            model.state, model.token, model.worker, model.suspect = "STARTED", claimant.token, worker, not alone
        return multiple(*(job for job in claimed if not self.ends_at_once(job)))

    def ends_at_once(self, job: Claimed) -> bool:
        """A job that must not begin has no attempt: whoever claimed it ends it."""
        if job.ending is not None:
            rows.settle(self.connection, store.Finish(job.id, job.claim_token, "REVOKED", error=job.ending))
            self.model[job.id].state = "REVOKED"
        return job.ending is not None

    def holds(self, claim: Claimed) -> bool:
        model = self.model.get(claim.id)
        return model is not None and model.token == claim.claim_token and model.state in RUNNING

    @rule(claim=claims)
    def report(self, claim: Claimed) -> None:
        values = {"id": claim.id, "token": claim.claim_token, "progress": "1", "custom_state": None}
        assert store.changed(self.connection, "report", **values) == self.holds(claim)
        if self.holds(claim):
            self.model[claim.id].state = "PROCESSING"

    # ---- ends, early and late

    @rule(claim=claims, state=st.sampled_from(["SUCCESS", "FAILURE", "REVOKED"]))
    def finish(self, claim: Claimed, state: str) -> None:
        end = store.Finish(claim.id, claim.claim_token, state, result="1")
        held = self.holds(claim) and (state == "REVOKED" or not self.model[claim.id].cancelled)
        assert rows.settle(self.connection, end) == ({claim.id} if held else set())
        if held:
            self.completions[claim.claim_token] += 1
            self.model[claim.id].state = state
            assert store.already_settled(self.connection, [end]) == {claim.id}
        assert rows.settle(self.connection, end) == set()

    @rule(claim=claims, kind=st.sampled_from(["RETRY", "RELEASED"]), due=st.booleans())
    def run_later(self, claim: Claimed, kind: str, due: bool) -> None:
        outcome = rows.retry(claim, run_at=PAST if due else LATER)
        if kind == "RELEASED":
            outcome = store.Reschedule(claim.id, claim.claim_token, kind, run_at=PAST if due else LATER)
        held = self.holds(claim) and (kind != "RETRY" or not self.model[claim.id].cancelled)
        assert rows.settle(self.connection, outcome) == ({claim.id} if held else set())
        if held:
            model = self.model[claim.id]
            model.wait("RETRY" if kind == "RETRY" else "PENDING", due)
            if kind == "RETRY":  # it came to its end in order: crashes are counted in a row
                model.crashes, model.presumed = 0, []

    @rule(claim=consumes(claims))
    def pool_process_dies(self, claim: Claimed) -> None:
        verdict = aftermath.crash(Death("killed"), LIMIT, lambda job: True)
        held = self.holds(claim)
        count = aftermath.settle_claim(self.shop, self.connection, [claim.id], claim.claim_token, verdict)
        assert count == int(held)
        if held:
            self.crash(claim.id, presumed=False)

    @rule(claim=claims)
    def runner_finds_itself_fenced(self, claim: Claimed) -> None:
        cancelled = self.holds(claim) and self.model[claim.id].cancelled
        assert aftermath.settle_cancelled(self.shop, self.connection, [claim.id], claim.claim_token) == cancelled
        if cancelled:
            self.model[claim.id].state = "REVOKED"

    @rule(claim=claims)
    def turn_does_not_come(self, claim: Claimed) -> None:
        held, model = self.holds(claim), self.model.get(claim.id)
        waits = aftermath.give_back(self.shop, self.connection, [claim.id], claim.claim_token)
        if model is None or not held:
            assert waits == set()
        elif model.cancelled:
            assert waits == set()
            model.state = "REVOKED"
        else:
            assert waits == ({claim.id} if model.state == "STARTED" else set())
            if waits:
                model.wait("PENDING")
                model.attempt, model.token = model.attempt - 1, None

    @rule(worker=workers)
    def lease_runs_out(self, worker: UUID) -> None:
        verdict = aftermath.crash(Death("its lease ran out", presumed=True), LIMIT, lambda job: True)
        mine = [i for i, model in self.model.items() if model.worker == worker and model.state in RUNNING]
        assert aftermath.settle_dead(self.shop, self.connection, [worker], verdict, 100) == len(mine)
        for job_id in mine:
            self.crash(job_id, presumed=True)

    def crash(self, job_id: str, presumed: bool) -> None:
        model = self.model[job_id]
        if model.cancelled:
            model.state = "REVOKED"
            return
        model.crash(presumed)
        if not model.due:  # the real pause is short: no test may depend on how fast it runs
            self.connection.execute("UPDATE trilho.jobs SET run_at = %s WHERE id = %s", (LATER, job_id))

    @rule(worker=workers)
    def process_outlived_its_lease(self, worker: UUID) -> None:
        processes.absolve(self.connection, worker)
        for job_id, model in self.model.items():
            if worker in model.presumed:
                model.crashes = max(0, model.crashes - 1)
                model.presumed = [each for each in model.presumed if each != worker]
                self.ended.pop(job_id, None)  # its count may change although it ended

    # ---- people and time

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        model = self.model.get(job_id)
        try:
            self.shop.jobs.cancel(job_id)
        except UnknownJob:
            assert model is None
        except JobStateError:
            assert model is not None
            assert model.state in FINISHED
        else:
            assert model is not None
            if model.state in WAITING:
                model.state, model.held, model.worker = "REVOKED", False, None
                model.token = rows.column(self.connection, "claim_token", job_id)
            else:
                model.cancelled = True

    @rule(job_id=ids)
    def run_again(self, job_id: str) -> None:
        model = self.model.get(job_id)
        try:
            self.shop.jobs.retry(job_id)
        except UnknownJob:
            assert model is None
        except JobStateError:
            assert model is not None
            assert model.state not in {"FAILURE", "REVOKED"}
        else:
            assert model is not None
            assert model.state in {"FAILURE", "REVOKED"}
            model.wait("PENDING")
            model.crashes, model.token, model.presumed = 0, None, []
            model.expired = model.cancelled = False
            self.ended.pop(job_id, None)

    @rule()
    def time_passes(self) -> None:
        self.connection.execute("UPDATE trilho.jobs SET run_at = %s WHERE state IN ('PENDING', 'RETRY')", (PAST,))
        for model in self.model.values():
            model.due = True

    @rule(job_id=ids)
    def time_to_live_ends(self, job_id: str) -> None:
        self.connection.execute(
            "UPDATE trilho.jobs SET expires_at = %s WHERE id = %s AND state IN ('PENDING', 'RETRY')", (PAST, job_id)
        )
        if job_id in self.model and self.model[job_id].state in WAITING:
            self.model[job_id].expired = True

    @rule()
    def finished_jobs_grow_old(self) -> None:
        values = {"past": PAST, "finished": list(FINISHED)}
        self.connection.execute(
            "UPDATE trilho.jobs SET finished_at = %(past)s, created_at = %(past)s WHERE state = ANY(%(finished)s)",
            values,
        )
        retain = Retain(keeping(self.shop.settings))
        while retain(self.connection):
            retain._not_before = 0.0
        for job_id in [i for i, model in self.model.items() if model.state in FINISHED]:
            del self.model[job_id]
            self.ended.pop(job_id, None)

    # ---- what must always hold

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        query = "SELECT id, state, held, attempt, crash_count FROM trilho.jobs ORDER BY id"
        expected = [(job_id, m.state, m.held, m.attempt, m.crashes) for job_id, m in sorted(self.model.items())]
        assert expected == self.connection.execute(query).fetchall()
        for job_id, model in self.model.items():
            if model.state in RUNNING:
                assert rows.column(self.connection, "claim_token", job_id) == model.token

    @invariant()
    def ended_rows_never_change(self) -> None:
        for job_id, model in self.model.items():
            if model.state in FINISHED:
                row = rows.whole(self.connection, job_id)
                assert self.ended.setdefault(job_id, row) == row
            else:
                assert job_id not in self.ended

    @invariant()
    def no_claim_completes_twice(self) -> None:
        assert all(count <= len(IDS) for count in self.completions.values())

    @invariant()
    def attempts_are_remembered_once_and_crashes_are_bounded(self) -> None:
        query = "SELECT job_id, number, count(*) FROM trilho.job_attempts GROUP BY 1, 2"
        for job_id, number, count in self.connection.execute(query):
            assert count == 1
            assert number <= self.model[job_id].attempt
        assert all(model.crashes <= LIMIT + 1 for model in self.model.values())


@pytest.fixture
def machine(database: str) -> Iterator[type[JobMachine]]:
    shop = Shop(database=database)
    with databases.connect(database) as connection:
        yield type("Machine", (JobMachine,), {"shop": shop, "connection": connection})
    shop.database.close()
    shop.close()


@pytest.mark.timeout(400)  # a failure is made small before it is shown
def test_any_sequence_of_transitions_keeps_the_rules(machine: type[JobMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=timedelta(seconds=20),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
