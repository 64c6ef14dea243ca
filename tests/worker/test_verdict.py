"""What becomes of a slice that went wrong, decided from what the parent knows."""

import math
from collections import deque
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.test_outcome import job
from trilho.errors import ClaimLost, DuplicateJob
from trilho.jobs.runner import SliceOrder
from trilho.processes.shared import BODY, CLAIMED, IDLE, SharedState
from trilho.worker.batcher import Batcher
from trilho.worker.slice import Slice
from trilho.worker.verdict import Witness

LIMIT = 3


@pytest.fixture
def batcher() -> Batcher:
    shared = SharedState(1)
    shared.deadline = math.inf
    app = SimpleNamespace(shared=shared, settings=SimpleNamespace(max_crashes=LIMIT))
    consumer = SimpleNamespace(app=app, lease=SimpleNamespace(incarnation=uuid4()))
    return Batcher(consumer, deque())  # type: ignore[arg-type]


def verdict(
    batcher: Batcher,
    error: BaseException,
    doing: int = BODY,
    ending: str | None = None,
    crashes: int = 0,
    worker: UUID | None = None,
) -> Any:
    order = SliceOrder(("one",), uuid4(), worker or batcher.consumer.lease.incarnation, "w", 0)
    under_way = Slice(order, {}, 0.0, ending=ending)
    shared = batcher.consumer.app.shared
    shared.open(0)
    if doing != IDLE:
        shared.take(0, 0)
    shared.mark(0, doing)
    return batcher._verdict(under_way, error)(job(crash_count=crashes))


@pytest.mark.parametrize("doing", [IDLE, CLAIMED])
def test_process_that_died_outside_the_body_is_nobodys_crash(batcher: Batcher, doing: int) -> None:
    outcome = verdict(batcher, WorkerLostError("killed"), doing)
    assert (outcome.state, outcome.crash) == ("PENDING", False)


def test_process_that_died_in_the_body_is_counted(batcher: Batcher) -> None:
    outcome = verdict(batcher, WorkerLostError("killed"))
    assert (outcome.state, outcome.crash, outcome.presumed) == ("PENDING", True, False)
    assert verdict(batcher, WorkerLostError("killed"), crashes=LIMIT).state == "FAILURE"


@pytest.mark.parametrize("error", [DuplicateJob("x"), ValueError("x"), psycopg.DataError("x")])
@pytest.mark.parametrize("doing", [CLAIMED, BODY])
def test_slice_that_can_never_be_written_comes_to_an_end(batcher: Batcher, error: Exception, doing: int) -> None:
    assert verdict(batcher, error, doing).crash
    last = verdict(batcher, error, doing, crashes=LIMIT)
    assert last.state == "FAILURE"
    assert "the slice failed" in str(last.error)


@pytest.mark.parametrize("error", [ClaimLost("x"), psycopg.OperationalError("x"), psycopg.InterfaceError("x")])
def test_database_that_was_away_is_nobodys_crash(batcher: Batcher, error: Exception) -> None:
    outcome = verdict(batcher, error, crashes=LIMIT)
    assert (outcome.state, outcome.crash) == ("PENDING", False)


@pytest.mark.parametrize("ending", ["lease", "shutdown"])
def test_body_that_its_own_worker_ended_is_given_back(batcher: Batcher, ending: str) -> None:
    outcome = verdict(batcher, WorkerLostError("killed"), ending=ending, crashes=LIMIT)
    assert (outcome.state, outcome.crash) == ("PENDING", False)


@pytest.mark.parametrize(("error", "ending"), [(WorkerLostError("killed"), "cancelled"), (Terminated(9), None)])
def test_cancelled_body_is_revoked(batcher: Batcher, error: BaseException, ending: str | None) -> None:
    assert verdict(batcher, error, ending=ending).state == "REVOKED"


def test_time_limit_is_a_failure_at_once(batcher: Batcher) -> None:
    outcome = verdict(batcher, TimeLimitExceeded(5))
    assert (outcome.state, outcome.error, outcome.crash) == ("FAILURE", "TimeLimitExceeded: 5", False)


def test_time_limit_that_passed_while_the_end_was_written_fails_nobody(batcher: Batcher) -> None:
    assert verdict(batcher, TimeLimitExceeded(5), CLAIMED).state == "PENDING"


@pytest.mark.parametrize("how", ["another incarnation", "deadline"])
def test_process_that_ended_itself_with_its_lease_is_nobodys_crash(batcher: Batcher, how: str) -> None:
    if how == "deadline":
        batcher.consumer.app.shared.deadline = 1.0
    outcome = verdict(batcher, WorkerLostError("killed"), worker=uuid4() if how == "another incarnation" else None)
    assert (outcome.state, outcome.crash) == ("PENDING", False)


def test_process_that_ends_with_a_worker_that_stops_is_given_back(batcher: Batcher) -> None:
    batcher.closed = True
    outcome = verdict(batcher, WorkerLostError("killed"), crashes=LIMIT)
    assert (outcome.state, outcome.crash) == ("PENDING", False)


# ---- slices of several jobs

NAMES = ("one", "two", "three")


def fates(error: BaseException | str, running: int | None, taken: int) -> list[Any]:
    """What becomes of each of three jobs."""
    witness = Witness(NAMES, running, taken, LIMIT)
    decide = witness.on_ending(error) if isinstance(error, str) else witness.on_error(error)
    return [decide(job(id=name)) for name in NAMES]


def test_only_the_body_that_ran_counts_a_crash() -> None:
    ended, ran, waited = fates(WorkerLostError("killed"), running=1, taken=2)
    assert [outcome.crash for outcome in (ended, ran, waited)] == [False, True, False]
    assert [outcome.begun for outcome in (ended, ran, waited)] == [True, True, False]


def test_nobody_is_charged_for_a_process_that_died_between_bodies() -> None:
    assert [outcome.crash for outcome in fates(WorkerLostError("killed"), running=None, taken=2)] == [False] * 3


@pytest.mark.parametrize(("error", "state"), [(TimeLimitExceeded(5), "FAILURE"), ("cancelled", "REVOKED")])
def test_only_the_body_that_ran_is_ended(error: BaseException | str, state: str) -> None:
    assert [outcome.state for outcome in fates(error, running=1, taken=2)] == ["PENDING", state, "PENDING"]


def test_slice_that_fails_for_no_visible_reason_is_taken_apart() -> None:
    for outcome in fates(ValueError("x"), running=None, taken=3):
        assert (outcome.state, outcome.crash, outcome.suspect) == ("PENDING", False, True)


errors = st.sampled_from(
    [
        WorkerLostError("x"),
        TimeLimitExceeded(5),
        ClaimLost("x"),
        ValueError("x"),
        SystemExit(1),
        "lease",
        "shutdown",
        "cancelled",
    ]
)


@given(errors, st.integers(0, 3), st.booleans())
def test_what_never_began_is_charged_with_nothing(error: BaseException | str, taken: int, in_body: bool) -> None:
    running = taken - 1 if in_body and taken else None
    for outcome in fates(error, running, taken)[taken:]:
        assert (outcome.state, outcome.crash) == ("PENDING", False)
