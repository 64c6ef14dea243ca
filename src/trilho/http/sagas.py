"""Routes that show the runs of sagas and steer them; a router that the application mounts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, Field

from trilho.app import Trilho
from trilho.db.text import checked
from trilho.errors import PayloadTooLarge
from trilho.http.problems import documented
from trilho.jobs.display import displayable
from trilho.sagas.handle import SagaHandle
from trilho.sagas.record import LONGEST_NAME
from trilho.sagas.view import SagaFilter, SagaRun, SagaStep

State = Literal["RUNNING", "WAITING", "COMPENSATING", "COMPLETED", "COMPENSATED", "STUCK"]
SagaId = Annotated[str, Path(description="The id of the run.")]


NO_NUL = r"^[^\x00]*$"
"""For the schema only: the validator says it in words."""


def _storable(text: str) -> str:
    return checked("it", text, LONGEST_NAME)


Text = Annotated[
    str, Field(min_length=1, max_length=LONGEST_NAME, json_schema_extra={"pattern": NO_NUL}), AfterValidator(_storable)
]


def _shown(row: object, fields: Mapping[str, object]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in fields}
    return values | {name: displayable(values[name]) for name in ("args", "result")}


class SagaOut(BaseModel):
    """One run of a saga."""

    id: str = Field(examples=["order-42"])
    name: str = Field(examples=["place_order"])
    version: int
    state: str = Field(description="RUNNING, WAITING, COMPENSATING, COMPLETED, COMPENSATED or STUCK.")
    verdict: str | None = Field(description="Why it is undone: failed, cancelled, timed out, called off.")
    error: str | None
    stuck: str | None = Field(description="Why a person has to decide.")
    args: dict[str, Any]
    result: Any
    wake_at: datetime | None = Field(description="When its first timer ends, while it waits.")
    parent_id: str | None
    correlation_id: str
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, run: SagaRun) -> Self:
        """As shown."""
        return cls(**_shown(run, SagaOut.model_fields))


class StepOut(BaseModel):
    """One recorded step, undo, wait or timer; `number` is its place in the code."""

    number: str = Field(examples=["2", "3.1.1", "2:undo"])
    kind: str
    name: str
    state: str = Field(description="WAITING, RETRY, DONE, FAILED, SKIPPED or CANCELLED.")
    attempt: int
    job_id: str | None
    child_id: str | None
    args: Any
    undo: str | None
    result: Any
    error: str | None
    due_at: datetime | None
    timed_out: bool
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, step: SagaStep) -> Self:
        """As shown."""
        return cls(**_shown(step, StepOut.model_fields))


class SagaDetail(SagaOut):
    """One run with everything that is recorded of it."""

    history: list[StepOut]


class SagaList(BaseModel):
    """One page of runs, newest first."""

    items: list[SagaOut]
    next_cursor: str | None


class Signal(BaseModel):
    """A signal; the same `message_id` twice is one."""

    name: Text
    data: Any = None
    message_id: Text | None = None


class Skip(BaseModel):
    """A step to be settled by hand."""

    step: Text = Field(examples=["2:undo"])
    result: Any = None


def sagas_router(app: Trilho) -> APIRouter:
    """`/sagas`: the runs of this application's sagas."""
    router = APIRouter(prefix="/sagas", tags=["sagas"])

    def found(saga_id: str) -> SagaHandle[Any]:
        return app.sagas.get(saga_id)

    @router.get("", summary="List runs", responses=documented(422, 503))
    def list_sagas(
        state: State | None = None,
        name: Text | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        cursor: Annotated[str | None, Query(max_length=217, pattern=r"^[0-9]{1,16}:[^\x00]{1,200}$")] = None,
    ) -> SagaList:
        """Newest first; `state=STUCK` are those that wait for a person."""
        page = app.sagas.list(SagaFilter(state, name, limit, cursor))
        return SagaList(items=[SagaOut.of(run) for run in page.items], next_cursor=page.next_cursor)

    @router.get("/{saga_id:path}", summary="Show a run", responses=documented(404, 503))
    def show(saga_id: SagaId) -> SagaDetail:
        """The run, and each step, undo, wait and timer in the order of its beginning."""
        handle = found(saga_id)
        steps = [StepOut.of(step) for step in handle.history()]
        return SagaDetail(**SagaOut.of(handle.run()).model_dump(), history=steps)

    @router.post("/{saga_id:path}/cancel", summary="Undo a run", responses=documented(404, 409, 503))
    def cancel(saga_id: SagaId) -> SagaOut:
        """Once this is answered, the run cannot complete any more."""
        return SagaOut.of(found(saga_id).cancel())

    @router.post("/{saga_id:path}/retry", summary="Let a STUCK run go on", responses=documented(404, 409, 503))
    def retry(saga_id: SagaId) -> SagaOut:
        """What gave up gets a fresh budget of attempts."""
        return SagaOut.of(found(saga_id).retry())

    @router.post(
        "/{saga_id:path}/skip", summary="Settle a step by hand", responses=documented(400, 404, 409, 413, 422, 503)
    )
    def skip(saga_id: SagaId, wanted: Skip) -> SagaOut:
        """The step counts as done, with this result."""
        handle = found(saga_id)
        with _fits("result"):
            run = handle.skip(wanted.step, wanted.result)
        return SagaOut.of(run)

    @router.post("/{saga_id:path}/signal", summary="Send a signal", responses=documented(400, 404, 409, 413, 422, 503))
    def signal(saga_id: SagaId, wanted: Signal) -> SagaOut:
        """What `wait_signal` of this name gives the run."""
        handle = found(saga_id)
        with _fits("data"):
            handle.signal(wanted.name, wanted.data, message_id=wanted.message_id)
        return SagaOut.of(handle.run())

    return router


@contextmanager
def _fits(field: str) -> Iterator[None]:
    """A value that cannot be stored is the caller's mistake."""
    try:
        yield
    except PayloadTooLarge:
        raise
    except (TypeError, ValueError) as error:
        raise RequestValidationError([{"loc": ("body", field), "msg": str(error)}]) from error
