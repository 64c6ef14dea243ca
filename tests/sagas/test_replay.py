"""The decision core: pure functions of a record and a call, and a state machine over them."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trilho.events.retry import Retry
from trilho.sagas import replay
from trilho.sagas.record import (
    CALL,
    CANCELLED,
    DONE,
    ENDED_WELL,
    FAILED,
    OPEN,
    RETRY,
    SIGNAL,
    SKIPPED,
    SLEEP,
    STEP,
    Entry,
    Mail,
)
from trilho.sagas.replay import Begin, Call, Expire, Give, Mismatch, Stay, Throw, Wait

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
ATTEMPTS = 3
POLICY = Retry(attempts=ATTEMPTS, delay=1.0)


def pause(entry: Entry) -> float | None:
    return POLICY.pause(entry.attempt, OSError())


class Step(RuleBasedStateMachine):
    """One step that is a task, as a stretch, a worker, a clock and a person move it."""

    call = Call("1", STEP, "charge")

    @initialize()
    def begin(self) -> None:
        self.entry: Entry | None = None
        self.now = START
        self.begun = 0
        self.ends: list[object] = []

    def decide(self) -> replay.Decision:
        return replay.of_step(self.call, self.entry, pause, self.now)

    @rule(timeout=st.none() | st.integers(1, 30))
    def stretch(self, timeout: int | None) -> None:
        match self.decide():
            case Begin(attempt):
                self.begun += 1
                assert attempt == (1 if self.entry is None or self.entry.attempt == 0 else self.entry.attempt + 1)
                due = None if timeout is None else self.now + timedelta(seconds=timeout)
                self.entry = Entry("1", STEP, "charge", OPEN, attempt=attempt, job_id=str(self.begun), due_at=due)
            case Stay(until, entry) if entry is not None:  # the pause before the next attempt
                assert (entry.state, entry.due_at) == (RETRY, until)
                assert until is not None
                assert until > self.now
                self.entry = entry
            case Expire():
                assert self.entry is not None
                self.entry = replace(self.entry, timed_out=True)
            case Throw(entry, new) | Give(entry, new):
                self.entry = entry
                self.ends.append(entry.state)
                assert new == (len(self.ends) == 1) or not new

    @rule(seconds=st.integers(0, 60))
    def time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.entry is not None and self.entry.state == OPEN)
    @rule(state=st.sampled_from([DONE, RETRY, FAILED]))
    def job_ends(self, state: str) -> None:
        assert self.entry is not None
        ended = None if state == RETRY else self.now
        self.entry = replace(self.entry, state=state, due_at=None, ended_at=ended)

    @precondition(lambda self: self.entry is not None and self.entry.state == RETRY)
    @rule()
    def person_skips(self) -> None:
        assert self.entry is not None
        self.entry = replace(self.entry, state=SKIPPED, ended_at=self.now)

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert self.begun <= ATTEMPTS

    @invariant()
    def an_end_is_for_good(self) -> None:
        assert len(set(self.ends)) <= 1

    @invariant()
    def the_same_record_gives_the_same_decision(self) -> None:
        assert self.decide() == self.decide()
        if self.entry is not None and self.entry.ended:
            later = replay.of_step(self.call, self.entry, pause, self.now + timedelta(days=1))
            assert later == self.decide()
            assert isinstance(later, Give) == (self.entry.state in ENDED_WELL)

    @invariant()
    def other_code_is_always_found(self) -> None:
        if self.entry is not None:
            for other in (Call("1", STEP, "refund"), Call("1", CALL, "charge")):
                assert isinstance(replay.of_step(other, self.entry, pause, self.now), Mismatch)


class Function(RuleBasedStateMachine):
    """One step that is a function: its bodies run in a stretch, which may be killed in any of them.

    `told` is what the outside has heard of; the record may know of less only where nobody has heard anything.
    """

    call = Call("1", STEP, "charge")

    @initialize(atomic=st.booleans())
    def begin(self, atomic: bool) -> None:
        self.atomic = atomic
        self.entry: Entry | None = None
        self.now = START
        self.told = False

    @rule(end=st.sampled_from([DONE, RETRY, FAILED, "killed", "killed before the body"]))
    def stretch(self, end: str) -> None:
        decision = replay.of_step(self.call, self.entry, pause, self.now)
        if not isinstance(decision, Begin):
            assert self.entry is not None
            assert isinstance(decision, Give | Throw | Stay)
            return
        new = Entry("1", STEP, "charge", OPEN, undo="refund", atomic=self.atomic)
        begun = replace(self.entry or new, attempt=decision.attempt)
        if replay.must_tell(self.entry, begun):
            self.entry = replace(begun, state=OPEN, due_at=None)
        if end == "killed before the body":
            return
        self.told = True
        if end != "killed":
            due = self.now + timedelta(seconds=1) if end == RETRY else None
            self.entry = replace(begun, state=end, due_at=due, ended_at=None if end == RETRY else self.now)

    @rule(seconds=st.integers(0, 5))
    def time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @invariant()
    def being_killed_is_nobodys_attempt(self) -> None:
        if self.entry is not None and self.entry.state == OPEN:
            assert replay.of_step(self.call, self.entry, pause, self.now) == Begin(self.entry.attempt)

    @invariant()
    def what_the_outside_may_have_heard_of_is_undone(self) -> None:
        left = [] if self.entry is None else [replay.given_up(self.entry) or self.entry]
        undone = replay.to_undo([replace(entry, ended_at=entry.ended_at or self.now) for entry in left])
        if self.told and not self.atomic:
            assert [entry.path for entry in undone] == ["1"]
        if self.atomic and undone:
            assert undone[0].state == DONE


class Waiting(RuleBasedStateMachine):
    """One wait with a timer: whoever is seen first wins, and has won for good."""

    call = Call("2", SIGNAL, "go")

    @initialize(timeout=st.none() | st.integers(0, 20))
    def begin(self, timeout: int | None) -> None:
        self.timeout = timeout
        self.entry: Entry | None = None
        self.mail: list[Mail] = []
        self.now = START
        self.winner: object = None

    @rule()
    def signal(self) -> None:
        self.mail.append(Mail(len(self.mail) + 1, "go", str(len(self.mail))))

    @rule(seconds=st.integers(0, 15))
    def time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def stretch(self) -> None:
        first = self.mail[0] if self.mail else None
        decision = replay.of_wait(self.call, self.entry, Wait(first, self.timeout), self.now)
        match decision:
            case Stay(until, entry):
                assert self.winner is None
                assert not self.mail
                assert until is None or until > self.now
                self.entry = entry or self.entry
            case Give(entry) | Throw(entry):
                self.winner = self.winner or (entry.state, entry.mail)
                assert self.winner == (entry.state, entry.mail)
                assert isinstance(decision, Give) == (entry.mail == 1)
                self.entry = replace(entry, ended_at=self.now)

    @invariant()
    def mail_that_was_there_is_not_overlooked(self) -> None:
        if self.winner is None and self.mail:
            decision = replay.of_wait(self.call, self.entry, Wait(self.mail[0], self.timeout), self.now)
            assert isinstance(decision, Give)


TestStep = Step.TestCase
TestFunction = Function.TestCase
TestWaiting = Waiting.TestCase
for case in (TestStep, TestFunction, TestWaiting):
    case.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_sleep_ends_once_its_time_has_come() -> None:
    call = Call("1", SLEEP, "sleep")
    stay = replay.of_sleep(call, None, 10, START)
    assert isinstance(stay, Stay)
    assert stay.entry is not None
    assert replay.of_sleep(call, stay.entry, 99, START) == Stay(START + timedelta(seconds=10))
    over = replay.of_sleep(call, stay.entry, 99, START + timedelta(seconds=10))
    assert over == Give(replace(stay.entry, state=DONE), new=True)


def entry(path: str, state: str, second: int, **fields: object) -> Entry:
    known = {"undo": "u", "ended_at": START + timedelta(seconds=second)}
    return Entry(path, STEP, "s", state, **(known | fields))  # type: ignore[arg-type]


def test_undone_is_what_ended_well_or_is_not_known_to_have_left_nothing_behind() -> None:
    entries = [
        entry("1", DONE, 1),
        entry("2.1.1", DONE, 5),
        entry("2.2.1", SKIPPED, 4),
        entry("3", FAILED, 6, atomic=True),
        entry("4", FAILED, 7, atomic=False),
        entry("5", DONE, 8, undo=None),
        entry("6", CANCELLED, 9),
        replace(entry("7", DONE, 9), kind=SLEEP),
    ]
    assert [each.path for each in replay.to_undo(entries)] == ["4", "2.1.1", "2.2.1", "1"]


def test_nothing_is_undone_before_every_attempt_has_ended() -> None:
    entries = [
        entry("1", DONE, 1),
        entry("2", OPEN, 2),
        entry("3", RETRY, 3),
        replace(entry("4", OPEN, 4), kind=SIGNAL),
    ]
    assert [each.path for each in replay.unsettled(entries)] == ["2", "3"]


def test_nothing_runs_any_more_of_a_failed_attempt_nor_of_a_function_that_was_cut_short() -> None:
    running = [entry("1", OPEN, 1, job_id="j"), replace(entry("2", OPEN, 2, child_id="c"), kind=CALL)]
    assert [replay.given_up(each) for each in running] == [None, None]
    ended = [replay.given_up(entry("3", RETRY, 3)), replay.given_up(entry("4", OPEN, 4))]
    assert [each and each.state for each in ended] == [FAILED, FAILED]
