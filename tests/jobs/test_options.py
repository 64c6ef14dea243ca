"""Celery's options of `apply_async`."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.jobs.shop import Query
from trilho import Task, Trilho
from trilho.testing import Harness

Noop = Task[[], None]
TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
A_MINUTE = 60  # for a loaded machine


@pytest.fixture
def noop(app: Trilho) -> Noop:
    @app.task
    def noop() -> None: ...

    return noop


def seconds_from_now(when: datetime | None) -> float:
    assert when is not None
    return (when - datetime.now(UTC)).total_seconds()


def test_countdown_waits_in_the_row(app: Trilho, noop: Noop, trilho: Harness) -> None:
    result = noop.apply_async(countdown=60)
    assert 55 < seconds_from_now(app.jobs.get(result.id).next_run_at) < 65
    assert trilho.run_until_idle() == []
    trilho.advance(minutes=2)
    assert [job.id for job in trilho.run_until_idle()] == [result.id]


@pytest.mark.parametrize("countdown", [0, -5, None, 0.0])
def test_countdown_that_is_over_runs_at_once(noop: Noop, trilho: Harness, countdown: float | None) -> None:
    noop.apply_async(countdown=countdown)
    assert len(trilho.run_until_idle()) == 1


@pytest.mark.parametrize(
    ("eta", "meant"),
    [
        (TOMORROW, TOMORROW),
        (TOMORROW.replace(tzinfo=None), TOMORROW),  # without a zone it is the application's
        (TOMORROW.astimezone(timezone(timedelta(hours=-3))), TOMORROW),
        (TOMORROW.isoformat(), TOMORROW),
        (TOMORROW.replace(tzinfo=None).isoformat(), TOMORROW),
    ],
    ids=["aware", "naive", "elsewhere", "text", "naive text"],
)
def test_eta_is_a_moment_however_it_is_written(app: Trilho, noop: Noop, eta: Any, meant: datetime) -> None:
    assert app.jobs.get(noop.apply_async(eta=eta).id).next_run_at == meant


def test_eta_without_a_zone_is_in_the_zone_of_the_application(app: Trilho, noop: Noop) -> None:
    app.conf.timezone = "America/Sao_Paulo"
    result = noop.apply_async(eta=TOMORROW.replace(tzinfo=None))
    assert app.jobs.get(result.id).next_run_at == TOMORROW + timedelta(hours=3)


@pytest.mark.parametrize("options", [{"eta": 5}, {"eta": "soon"}, {"countdown": "soon"}, {"expires": "soon"}])
def test_what_is_no_time_is_refused(noop: Noop, query: Query, options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        noop.apply_async(**options)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo"])
@pytest.mark.parametrize(
    "expires",
    [TOMORROW, TOMORROW.replace(tzinfo=None), TOMORROW.isoformat(), 86400, 86400.5],
    ids=["aware", "naive", "text", "seconds", "fractions"],
)
def test_expiry_is_the_same_moment_in_every_time_zone_of_the_server(
    app: Trilho, noop: Noop, query: Query, database: str, zone: str, expires: Any
) -> None:
    query(f"ALTER DATABASE {database.rpartition('/')[2]} SET timezone = '{zone}'")
    app.database.close()
    meant = float(expires) if isinstance(expires, (int, float)) else seconds_from_now(TOMORROW)
    job = app.jobs.get(noop.apply_async(expires=expires).id)
    assert abs(seconds_from_now(job.expires_at) - meant) < A_MINUTE


def test_queue_priority_and_headers_reach_the_body(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def look(self: Any) -> None:
        seen.append(
            (self.request.delivery_info["routing_key"], self.request.delivery_info["priority"], self.request.tenant)
        )

    look.apply_async(queue="low", priority=9, headers={"tenant": "ana"})
    trilho.run_until_idle()
    assert seen == [("low", 9, "ana")]


@pytest.mark.parametrize("task_id", ["order-42", "a" * 255, "çãé ☃", "a/b?c#d%", " "])
def test_id_of_the_caller_may_be_any_text(app: Trilho, noop: Noop, trilho: Harness, task_id: str) -> None:
    result = noop.apply_async(task_id=task_id)
    assert result.id == task_id
    trilho.run_until_idle()
    assert app.jobs.get(task_id).state == "SUCCESS"


@pytest.mark.parametrize("task_id", ["a" * 256, "a\x00b", 5, b"a"])
def test_id_that_cannot_be_stored_is_refused(noop: Noop, query: Query, task_id: Any) -> None:
    with pytest.raises(ValueError, match="1 to 255 characters without NUL"):
        noop.apply_async(task_id=task_id)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_empty_id_means_a_new_one(noop: Noop) -> None:
    assert len(noop.apply_async(task_id="").id) == 36


def test_priority_out_of_range_is_refused(noop: Noop, query: Query) -> None:
    with pytest.raises(Exception, match="smallint"):
        noop.apply_async(priority=100_000)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_request_of_the_body_is_celerys(app: Trilho, trilho: Harness) -> None:
    seen: dict[str, Any] = {}

    @app.task(bind=True, time_limit=20, soft_time_limit=10)
    def look(self: Any, x: int) -> None:
        names = (
            "id",
            "task",
            "args",
            "kwargs",
            "retries",
            "root_id",
            "parent_id",
            "is_eager",
            "called_directly",
            "timelimit",
        )
        seen.update({name: getattr(self.request, name) for name in names})

    result = look.apply_async((1,), time_limit=5)
    trilho.run_until_idle()
    assert seen == {
        "id": result.id,
        "task": look.name,
        "args": [1],
        "kwargs": {},
        "retries": 0,
        "root_id": result.id,
        "parent_id": None,
        "is_eager": False,
        "called_directly": False,
        "timelimit": [5, 10],
    }


def test_job_enqueued_by_a_body_knows_its_parent(app: Trilho, trilho: Harness) -> None:
    @app.task
    def child() -> None: ...

    @app.task
    def parent() -> None:
        child.delay()

    result = parent.delay()
    jobs = trilho.run_until_idle()
    assert [(job.parent_id, job.root_id) for job in jobs] == [(None, result.id), (result.id, result.id)]
    assert [made.id for made in app.AsyncResult(result.id).children] == [jobs[1].id]


def test_links_run_after_success_and_error_links_after_failure(app: Trilho, trilho: Harness) -> None:
    seen: list[Any] = []

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def then(value: int) -> None:
        seen.append(("then", value))

    @app.task
    def by_id(job_id: str) -> None:
        seen.append(("by id", job_id))

    @app.task
    def in_place(request: Any, error: BaseException, traceback: Any) -> None:
        seen.append(("in place", request.id, repr(error)))

    add.apply_async((1, 2), link=then.s(), link_error=by_id.s())
    trilho.run_until_idle()
    assert seen == [("then", 3)]
    seen.clear()
    failed = add.apply_async((1, "2"), link=then.s(), link_error=[by_id.s(), in_place.s()])
    trilho.run_until_idle()
    assert [kind for kind, *_ in seen] == ["in place", "by id"]
    assert {job_id for _, job_id, *_ in seen} == {failed.id}


def test_every_one_of_several_links_runs(app: Trilho, trilho: Harness) -> None:
    seen: list[str] = []

    @app.task
    def begin() -> str:
        return "begun"

    @app.task
    def then(value: str, name: str) -> None:
        seen.append(name)

    begin.apply_async(link=[then.s("a"), then.s("b")])
    trilho.run_until_idle()
    assert sorted(seen) == ["a", "b"]
