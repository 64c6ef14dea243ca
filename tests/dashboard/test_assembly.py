"""What facts come to: entries, attempts, whether more is to be expected."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trilho.dashboard.assembly import SETTLING, operation_of
from trilho.dashboard.facts import Facts
from trilho.dashboard.operation import Entry, Operation
from trilho.dashboard.rows import AttemptRow, JobRow, NoteRow, ReaderRow, SagaRow, StepRow

START = datetime(2026, 11, 22, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def note(kind: str, id_: str, seconds: float = 0, **values: Any) -> NoteRow:
    known: dict[str, Any] = dict.fromkeys(NoteRow.__slots__)
    known |= {"operation": "op", "number": 1, "kind": kind, "id": id_, "name": id_, "at": at(seconds)}
    return NoteRow(**known | values)


def handled(event: str, group: str, seconds: float, outcome: str = "done", **values: Any) -> NoteRow:
    known = {"via": group, "outcome": outcome, "ended_at": at(seconds + 1), "attempt": 1, "name": "topic"}
    return note("handling", event, seconds, **known | values)


def job(state: str = "SUCCESS", **values: Any) -> JobRow:
    known: dict[str, Any] = dict.fromkeys(JobRow.__slots__)
    known |= {
        "id": "job",
        "task": "pack",
        "queue": "q",
        "state": state,
        "held": False,
        "attempt": 1,
        "scheduled": False,
    }
    known |= {"created_at": at(0), "run_at": at(0), "started_at": at(2), "finished_at": at(5)}
    return JobRow(**known | values)


def saga(state: str, **values: Any) -> SagaRow:
    known: dict[str, Any] = dict.fromkeys(SagaRow.__slots__)
    return SagaRow(**known | {"id": "s", "name": "place", "version": 1, "state": state, "created_at": at(0)} | values)


def step(path: str, state: str, **values: Any) -> StepRow:
    known: dict[str, Any] = dict.fromkeys(StepRow.__slots__)
    known |= {"saga_id": "s", "path": path, "kind": "step", "name": "charge", "state": state, "attempt": 1}
    return StepRow(**known | {"timed_out": False, "started_at": at(1)} | values)


def shown(now: float = 1000, **facts: Any) -> Operation:
    return operation_of("op", Facts(["op"], at(now), total=0, **facts))


def lines(operation: Operation) -> list[tuple[int, str, str, str]]:
    return [(entry.depth, entry.kind, entry.name, entry.state) for entry in operation.entries]


def spans(entry: Entry) -> list[tuple[str, str]]:
    return [(span.label, span.state) for span in entry.spans]


def test_what_a_handler_did_stands_under_the_handler_and_not_under_its_sister() -> None:
    notes = [
        note("request", "POST /orders", outcome="202", ended_at=at(1)),
        note("event", "created", 1, cause="POST /orders"),
        handled("created", "stock", 2),
        handled("created", "payment", 3),
        note("event", "paid", 3, cause="created", via="payment"),
    ]
    assert lines(shown(notes=notes)) == [
        (0, "request", "POST /orders", "202"),
        (1, "event", "created", "published"),
        (2, "handler", "stock", "done"),
        (2, "handler", "payment", "done"),
        (3, "event", "paid", "published"),
    ]


def test_attempts_of_a_job_and_the_waits_between_them() -> None:
    failed = AttemptRow("job", 1, "LOST", "the worker died", "w@1", at(1), at(2))
    [entry] = shown(jobs=[job(attempt=2, started_at=at(4), worker="w@2")], attempts=[failed]).entries
    assert spans(entry) == [
        ("waiting", "PENDING"),
        ("attempt 1", "LOST"),
        ("waiting", "PENDING"),
        ("attempt 2", "SUCCESS"),
    ]
    assert [span.worker for span in entry.spans] == [None, "w@1", None, "w@2"]


def test_attempts_that_a_crash_cut_short_are_not_counted_against_the_limit() -> None:
    for attempt, words in [(1, "1 of 1"), (2, "2")]:
        [entry] = shown(jobs=[job(attempt=attempt, max_attempts=1)]).entries
        assert entry.facts["attempt"] == words


def test_a_job_that_waits_for_its_time_says_so() -> None:
    waiting = job("RETRY", attempt=1, finished_at=None, scheduled=True)
    failed = AttemptRow("job", 1, "RETRY", "busy", None, at(1), at(2))
    operation = shown(jobs=[waiting], attempts=[failed])
    assert spans(operation.entries[0])[-1] == ("waiting", "RETRY until its time")
    assert (operation.state, operation.live) == ("running", True)


def test_a_note_whose_job_is_deleted_is_still_shown() -> None:
    assert lines(shown(notes=[note("job", "pack")])) == [(0, "job", "pack", "deleted")]


@pytest.mark.parametrize(
    ("outcomes", "state", "words"),
    [
        (["retry", "retry", "done"], "done", "done"),
        (["retry"], "running", "retry"),
        (["queued", "done"], "done", "done"),
        (["retry", "dead_letter"], "failed", "dead_letter"),
        (["parked"], "failed", "parked"),
    ],
)
def test_attempts_of_a_handler(outcomes: list[str], state: str, words: str) -> None:
    notes = [note("event", "e"), *(handled("e", "g", 10 * n, outcome) for n, outcome in enumerate(outcomes))]
    operation = shown(notes=notes)
    assert (operation.state, operation.entries[1].state) == (state, words)
    attempts = [span for span in operation.entries[1].spans if span.label != "waiting"]
    assert [span.state for span in attempts] == outcomes


def test_an_event_that_began_the_operation_is_known_from_its_handler() -> None:
    operation = shown(notes=[handled("e", "g", 1, partition=2, offset=7)])
    assert lines(operation) == [(0, "event", "topic", "published"), (1, "handler", "g", "done")]
    assert operation.entries[0].facts["offset"] == "2/7"


def test_a_group_that_has_not_come_so_far_is_waited_for() -> None:
    notes = [note("event", "e", name="topic"), handled("e", "fast", 1, partition=2, offset=7)]
    readers = [ReaderRow("topic", 2, "fast", 8), ReaderRow("topic", 2, "slow", 7), ReaderRow("topic", 3, "else", 0)]
    operation = shown(notes=notes, readers=readers)
    assert lines(operation)[-1] == (1, "handler", "slow", "waiting")
    assert operation.live
    assert not shown(notes=notes, readers=[ReaderRow("topic", 2, "slow", 8)]).live


def test_an_event_that_somebody_reads_is_waited_for_but_not_for_ever() -> None:
    facts: dict[str, Any] = {"notes": [note("event", "e", name="topic")], "readers": [ReaderRow("topic", 0, "g", 0)]}
    assert shown(30, **facts).state == "running"
    assert not shown(100, **facts).live
    assert not shown(30, notes=facts["notes"]).live


def test_what_is_over_stays_live_for_a_moment_only() -> None:
    facts: dict[str, Any] = {"jobs": [job()]}
    assert shown(5 + SETTLING.total_seconds() / 2, **facts).live
    assert not shown(5 + SETTLING.total_seconds() + 1, **facts).live


def test_saga_steps_stand_in_the_run_and_their_jobs_in_the_steps() -> None:
    steps = [step("1", "DONE", job_id="job"), step("2", "FAILED", started_at=at(2), error="Declined: no")]
    undo = step("1:undo", "DONE", kind="undo", name="refund", started_at=at(3))
    run = saga("COMPENSATED", verdict="failed", finished_at=at(4))
    operation = shown(sagas=[run], steps=[*steps, undo], jobs=[job()])
    assert lines(operation) == [
        (0, "saga", "place", "COMPENSATED"),
        (1, "step", "charge", "DONE"),
        (2, "job", "pack", "SUCCESS"),
        (1, "step", "charge", "FAILED"),
        (1, "undo", "refund", "DONE"),
    ]
    assert operation.state == "undone"
    assert operation.entries[0].facts["undone because it"] == "failed"


@pytest.mark.parametrize(
    ("state", "expected"),
    [("RUNNING", "running"), ("WAITING", "running"), ("STUCK", "failed"), ("COMPLETED", "done")],
)
def test_the_state_of_a_saga_is_that_of_its_operation(state: str, expected: str) -> None:
    done = step("1", "FAILED", ended_at=at(2))
    assert shown(sagas=[saga(state, stuck="refund failed")], steps=[done]).state == expected


def test_a_run_stands_under_what_started_it_and_a_called_one_under_its_step() -> None:
    notes = [note("request", "r", outcome="202"), note("saga", "s", cause="r"), note("saga", "child", cause="other")]
    runs = [saga("COMPLETED"), saga("COMPLETED", id="child", name="ship", parent_id="s", parent_path="3")]
    operation = shown(notes=notes, sagas=runs, steps=[step("3", "DONE", kind="call", name="ship")])
    assert [(depth, name) for depth, _, name, _ in lines(operation)] == [
        (0, "r"),
        (1, "place"),
        (2, "call ship"),
        (3, "ship"),
    ]
