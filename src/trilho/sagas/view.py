"""A run and its history as people see them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from trilho.db.text import checked
from trilho.jobs import display
from trilho.sagas.record import FINISHED, LONGEST_NAME, MAX_ID, STATES

LONGEST_PAGE = 1000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=timezone.utc), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SagaRun:
    """One run of a saga; `args` by parameter and `result` are JSON values.

    `verdict` tells why it is undone: failed, cancelled, timed out, called off; `stuck` why a person has to decide.
    """

    id: str
    name: str
    version: int
    state: str
    verdict: str | None
    error: str | None
    stuck: str | None
    args: dict[str, Any]
    result: Any
    failure: str | None
    wake_at: datetime | None
    deadline: datetime | None
    cancel_requested_at: datetime | None
    parent_id: str | None
    correlation_id: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self.state in FINISHED

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "SagaRun":
        """The run of one row of the `view` query."""
        args = display.loaded(row["args"])
        named = args if isinstance(args, dict) else {"": args}  # nested so deep that only the text is to be had
        return cls(**{**row, "args": named, "result": display.loaded(row["result"])})


@dataclass(frozen=True, slots=True)
class SagaStep:
    """One recorded step, undo, wait or timer of a run; `number` is its place in the code, as errors name it."""

    number: str
    kind: str
    name: str
    state: str
    attempt: int
    job_id: str | None
    child_id: str | None
    args: list[Any]
    undo: str | None
    result: Any
    error: str | None
    due_at: datetime | None
    timed_out: bool
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "SagaStep":
        """The step of one row of the `history` query."""
        loaded = {name: display.loaded(row[name]) for name in ("args", "result")} | {"number": row["path"]}
        return cls(**{name: value for name, value in {**row, **loaded}.items() if name != "path"})


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An attempt that ended with its worker: of the job of a step, or of a stretch of the run itself."""

    job_id: str
    step: str | None
    attempt: int
    worker: str | None
    error: str | None
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class SagaFilter:
    """Which runs to list, newest first; `cursor` is the `next_cursor` of the page before.

    Raises ValueError for a `limit` that is not between 1 and 1000, a state, name or cursor that there cannot be.
    """

    state: str | None = None
    name: str | None = None
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LONGEST_PAGE:
            raise ValueError(f"a page has 1 to {LONGEST_PAGE} runs, not {self.limit!r}")
        if self.state is not None and self.state not in STATES:
            raise ValueError(f"there is no state {self.state!r:.80}: it is one of {', '.join(sorted(STATES))}")
        if self.name is not None:
            checked("the name of a saga", self.name, LONGEST_NAME)
        self.place()

    def place(self) -> tuple[datetime | None, str | None]:
        """Where the page before ended."""
        if self.cursor is None:
            return None, None
        when, _, after = self.cursor.partition(":")
        try:
            return _EPOCH + int(when) * _MICROSECOND, checked("the cursor's id", after, MAX_ID)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self.cursor!r:.80} is no cursor: it is the next_cursor of the page before") from error


@dataclass(frozen=True, slots=True)
class SagaPage:
    """One page of runs."""

    items: list[SagaRun]
    next_cursor: str | None

    @classmethod
    def of(cls, runs: Sequence[SagaRun], limit: int) -> "SagaPage":
        """From one run more than were asked for, if there are more."""
        items = list(runs[:limit])
        more = len(runs) > limit
        return cls(items, f"{(items[-1].created_at - _EPOCH) // _MICROSECOND}:{items[-1].id}" if more else None)
