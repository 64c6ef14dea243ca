"""What becomes of an attempt, decided without I/O."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from tests.jobs.rows import new
from trilho.db.transient import is_transient
from trilho.jobs.attempt import RunningAttempt
from trilho.jobs.job import Claimed
from trilho.jobs.outcome import Death, Finish, Reschedule, crash_pause, crashed
from trilho.jobs.runner import outcome_of
from trilho.jobs.store import storable

TOKEN = uuid4()


def job(**fields: Any) -> Claimed:
    row = {
        "id": "one", "task": "work", "queue": "celery", "state": "STARTED", "priority": 0, "args": "[]", "kwargs": "{}",
        "canvas": None, "headers": "{}", "attempt": 1, "retries": 0, "crash_count": 0, "max_crashes": None,
        "claim_token": TOKEN, "expires_at": None, "root_id": None, "parent_id": None, "group_id": None,
        "sent_at": None, "sends": 1,
    }  # fmt: skip
    return Claimed(**{**row, **fields})


counts = st.integers(0, 50)


@given(count=counts, limit=counts, own=st.none() | counts)
def test_crash_past_the_limit_ends_the_job_and_any_other_runs_again(count: int, limit: int, own: int | None) -> None:
    outcome = crashed(job(crash_count=count, max_crashes=own), Death("killed"), limit)
    allowed = limit if own is None else own
    assert isinstance(outcome, Finish) == (count + 1 > allowed)
    assert outcome.crash
    assert outcome.token == TOKEN


@given(counts)
def test_pause_after_a_crash_grows_and_is_bounded(count: int) -> None:
    assert crash_pause(1) == 0
    assert 0 <= crash_pause(count) <= crash_pause(count + 1) <= 60


@pytest.mark.parametrize("presumed", [True, False])
def test_presumption_is_written_down(presumed: bool) -> None:
    assert crashed(job(), Death("x", presumed), 3).presumed is presumed


@pytest.mark.parametrize(
    ("state", "raised", "expected"),
    [
        ("SUCCESS", None, "SUCCESS"),
        ("IGNORED", None, "SUCCESS"),
        ("REJECTED", SimpleNamespace(requeue=False, reason="no"), "FAILURE"),
        ("REJECTED", SimpleNamespace(requeue=True, reason="later"), "PENDING"),
        ("FAILURE", ValueError("x"), "FAILURE"),
    ],
)
def test_state_of_the_tracer_decides_where_the_backend_was_told_nothing(state: str, raised: Any, expected: str) -> None:
    outcome = outcome_of(RunningAttempt(job(), TOKEN, "w"), state, raised)
    assert outcome is not None
    assert outcome.state == expected


@given(state=st.sampled_from(["SUCCESS", "IGNORED", "FAILURE"]), known=st.sampled_from(["SUCCESS", "FAILURE"]))
def test_what_the_backend_was_told_counts(state: str, known: str) -> None:
    told = Finish("one", TOKEN, known)
    assert outcome_of(RunningAttempt(job(), TOKEN, "w", outcome=told), state, None) is told


@pytest.mark.parametrize("state", ["RETRY", "SUCCESS"])
def test_next_run_under_the_same_id_is_a_retry(state: str) -> None:
    attempt = RunningAttempt(job(), TOKEN, "w", next_run=new(), outcome=Finish("one", TOKEN, "RETRY", error="E: x"))
    outcome = outcome_of(attempt, state, None)
    assert isinstance(outcome, Reschedule)
    assert (outcome.state, outcome.error) == ("RETRY", "E: x")


def test_next_run_of_an_ignored_body_replaces_it() -> None:
    outcome = outcome_of(RunningAttempt(job(), TOKEN, "w", next_run=new(task="other")), "IGNORED", None)
    assert isinstance(outcome, Reschedule)
    assert (outcome.state, outcome.job and outcome.job.task) == ("PENDING", "other")


def test_committed_end_stays() -> None:
    told = Finish("one", TOKEN, "SUCCESS")
    attempt = RunningAttempt(job(), TOKEN, "w", outcome=told, next_run=new(), committed=True)
    assert outcome_of(attempt, "SUCCESS", None) is told


def error(sqlstate: str | None, kind: type[psycopg.Error] = psycopg.OperationalError) -> psycopg.Error:
    made = kind("x")
    made.sqlstate = sqlstate
    return made


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "57P01", "57P02", "57P03", "25P03", None])
def test_what_lies_in_no_body_is_transient_however_deep_it_is_wrapped(sqlstate: str | None) -> None:
    cause = error(sqlstate)
    assert is_transient(cause)
    assert is_transient(OperationalError("SELECT 1", {}, cause))
    wrapped = RuntimeError("x")
    wrapped.__cause__ = OperationalError("SELECT 1", {}, cause)
    assert is_transient(wrapped)


@pytest.mark.parametrize(
    "other", [ValueError("x"), error("23505", psycopg.IntegrityError), error("22P02", psycopg.DataError)]
)
def test_anything_else_is_the_attempt_of_its_body(other: BaseException) -> None:
    assert not is_transient(other)


def test_circle_of_causes_ends() -> None:
    first, second = ValueError(1), ValueError(2)
    first.__cause__, second.__cause__ = second, first
    assert not is_transient(first)


@given(st.text(st.characters(), max_size=50))
def test_any_text_of_an_exception_can_be_stored(text: str) -> None:
    kept = storable(Finish("one", TOKEN, "FAILURE", error=text, traceback=text))
    assert kept.error is not None
    assert "\x00" not in kept.error
    assert kept.error.encode() == (kept.traceback or "").encode()
    if "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert kept.error == text
