"""`trilho.testing`: the fixture that users' own tests have."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from celery import chain, chord
from pydantic import BaseModel
from sqlalchemy import text

from tests.jobs.shop import Shop, rolled_back
from trilho import Saga, Trilho, Tx
from trilho.events.nudge import Nudge
from trilho.testing import Harness, StillBusy


class Address(BaseModel):
    street: str


@pytest.fixture(scope="module")
def trilho_app() -> Iterator[Trilho]:
    """One application for all tests, as in a module `app.py`; its own database is somewhere else."""
    app = Shop(database="postgresql://localhost:1/production", broker="redis://localhost:1/0")

    @app.on_migrate
    def tables(connection: psycopg.Connection) -> None:
        connection.execute("CREATE TABLE people (name text)")

    yield app
    app.close()


@pytest.fixture(scope="module")
def send(trilho_app: Trilho) -> Any:
    @trilho_app.task(name="send")
    def send(to: str, subject: str = "Welcome", *, where: Address | None = None) -> str:
        return f"{subject} to {to}"

    return trilho_app.tasks["send"]


# ---- what was enqueued


def test_enqueued_job_is_found_by_any_of_its_arguments(trilho: Harness, send: Any) -> None:
    result = send.delay("ana", where=Address(street="Rua"))
    for arguments in (
        {},
        {"to": "ana"},
        {"subject": "Welcome"},
        {"to": "ana", "where": Address(street="Rua")},
        {"where": {"street": "Rua"}},
    ):
        assert trilho.assert_enqueued(send, **arguments).id == result.id


def test_newest_of_several_is_returned(trilho: Harness, send: Any) -> None:
    send.delay("ana")
    newest = send.delay("ana")
    send.delay("bia")
    assert trilho.assert_enqueued(send, to="ana").id == newest.id


@pytest.mark.parametrize("arguments", [{"to": "bia"}, {"to": "ana", "subject": "Bye"}, {"unknown": 1}])
def test_failed_claim_shows_what_there_is(trilho: Harness, send: Any, arguments: dict[str, Any]) -> None:
    send.delay("ana")
    with pytest.raises(
        AssertionError, match=r"was not enqueued; there is:\s+send\(to='ana', subject='Welcome', where=None\)"
    ):
        trilho.assert_enqueued(send, **arguments)


def test_failed_claim_of_nothing_says_so(trilho: Harness, send: Any) -> None:
    with pytest.raises(AssertionError, match=r"there is: no send at all"):
        trilho.assert_enqueued(send)


def test_what_a_transaction_rolled_back_was_not_enqueued(trilho: Harness, send: Any) -> None:
    with rolled_back(trilho.app):
        send.delay("ana")
    with pytest.raises(AssertionError):
        trilho.assert_enqueued(send)


def test_task_may_have_any_argument_names(trilho: Harness) -> None:
    @trilho.app.task(name="odd")
    def odd(task: int, self_: int, **more: Any) -> None: ...

    odd.delay(1, self_=2, limit=3)
    trilho.assert_enqueued(odd, task=1, self_=2, limit=3)


def test_bound_transactional_and_retrying_tasks_are_matched_too(trilho: Harness) -> None:
    @trilho.app.task(name="whole", bind=True, transactional=True, autoretry_for=(OSError,))
    def whole(self: Any, number: int, *, tx: Tx) -> None: ...

    whole.delay(5)
    trilho.assert_enqueued(whole, number=5)


# ---- running


def test_due_jobs_run_and_are_returned_in_order(trilho: Harness, send: Any) -> None:
    ids = [send.delay(name).id for name in ("ana", "bia")]
    jobs = trilho.run_until_idle()
    assert [job.id for job in jobs] == ids
    assert [job.result for job in jobs] == ["Welcome to ana", "Welcome to bia"]
    assert trilho.run_until_idle() == []


def test_jobs_that_jobs_enqueue_run_too(trilho: Harness, send: Any) -> None:
    @trilho.app.task(name="sign_up")
    def sign_up(name: str) -> None:
        send.delay(name)

    sign_up.delay("ana")
    assert [job.task for job in trilho.run_until_idle()] == ["sign_up", "send"]


def test_chains_and_chords_run_to_their_end(trilho: Harness) -> None:
    @trilho.app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @trilho.app.task(name="total")
    def total(values: list[int]) -> int:
        return sum(values)

    result = chain(chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(10)).apply_async()
    trilho.run_until_idle()
    assert result.get(timeout=1) == 16


def test_task_that_never_comes_to_rest_is_told(trilho: Harness) -> None:
    @trilho.app.task(name="again")
    def again() -> None:
        trilho.app.tasks["again"].delay()

    again.delay()
    with pytest.raises(StillBusy, match=r"after 20 attempts.*again"):
        trilho.run_until_idle(limit=20)


def test_body_does_not_see_the_transaction_of_the_test(trilho: Harness, send: Any) -> None:
    @trilho.app.task(name="outer")
    def outer() -> None:
        send.delay("ana")

    outer.delay()
    with rolled_back(trilho.app):
        trilho.run_until_idle()
    trilho.assert_enqueued(send, to="ana")


def test_bodies_write_to_the_database_of_the_test(trilho: Harness) -> None:
    @trilho.app.task(name="remember", transactional=True)
    def remember(name: str, *, tx: Tx) -> None:
        tx.session.execute(text("INSERT INTO people VALUES (:name)"), {"name": name})

    remember.delay("ana")
    trilho.run_until_idle()
    with psycopg.connect(trilho.database_url) as connection:
        assert connection.execute("SELECT name FROM people").fetchall() == [("ana",)]


# ---- failures on demand


def test_next_run_of_a_task_fails_and_the_one_after_runs(trilho: Harness, send: Any) -> None:
    trilho.fail(send, OSError("no mail today"))
    first, second = send.delay("ana"), send.delay("bia")
    trilho.run_until_idle()
    with pytest.raises(OSError, match="no mail today"):
        first.get(timeout=1)
    assert second.get(timeout=1) == "Welcome to bia"


def test_failure_is_retried_as_the_task_says(trilho: Harness) -> None:
    @trilho.app.task(name="flaky", autoretry_for=(OSError,), max_retries=3, default_retry_delay=60)
    def flaky() -> str:
        return "done"

    trilho.fail(flaky, OSError("x"), times=2)
    result = flaky.delay()
    trilho.run_until_idle()
    assert result.state == "RETRY"
    for _ in range(2):
        trilho.advance(minutes=2)
        trilho.run_until_idle()
    assert result.get(timeout=1) == "done"
    assert trilho.app.jobs.get(result.id).attempt == 3


def test_jitter_does_not_make_a_retry_due_at_once(trilho: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    @trilho.app.task(name="lucky", autoretry_for=(OSError,), retry_backoff=60)
    def lucky() -> None: ...

    monkeypatch.setattr("random.randrange", lambda _: 0)
    trilho.fail(lucky, OSError("busy"))
    lucky.delay()
    [job] = trilho.run_until_idle()
    assert job.state == "RETRY"
    trilho.advance(seconds=60)
    [job] = trilho.run_until_idle()
    assert job.state == "SUCCESS"


def test_failures_end_with_their_test(trilho: Harness, send: Any) -> None:
    assert not any(trilho._failures.values())


# ---- time


def test_later_jobs_run_when_the_clock_is_moved(trilho: Harness, send: Any) -> None:
    result = send.apply_async(("ana",), countdown=7200)
    trilho.advance(hours=1)
    assert trilho.run_until_idle() == []
    trilho.advance(hours=1)
    assert [job.id for job in trilho.run_until_idle()] == [result.id]


def test_jobs_expire_when_the_clock_is_moved(trilho: Harness, send: Any) -> None:
    result = send.apply_async(("ana",), expires=60)
    trilho.advance(hours=1)
    trilho.run_until_idle()
    assert result.state == "REVOKED"


# ---- the application around it


def test_every_test_has_a_database_of_its_own(trilho: Harness, send: Any) -> None:
    assert trilho.app.jobs.list().items == []


def test_application_has_its_own_database_back_afterwards(request: pytest.FixtureRequest, trilho_app: Trilho) -> None:
    before = trilho_app.database
    harness = request.getfixturevalue("trilho")
    assert trilho_app.database is not before
    assert trilho_app.settings.database_url == harness.database_url
    harness._stack.close()
    assert trilho_app.database is before
    assert trilho_app.settings.database_url == "postgresql://localhost:1/production"


def test_no_connection_is_left_open(request: pytest.FixtureRequest, trilho_app: Trilho, send: Any) -> None:
    harness = request.getfixturevalue("trilho")
    send.delay("ana")
    harness.run_until_idle()
    harness._stack.close()
    gc.collect()
    with psycopg.connect(harness.database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row == (0,)


def test_nobody_is_told_of_events_on_the_application_s_own_database(
    trilho_app: Trilho, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Nudge] = []
    monkeypatch.setattr(Nudge, "__call__", lambda nudge: told.append(nudge))
    outbox = trilho_app.bus.outbox  # as when a module has declared handlers
    harness = request.getfixturevalue("trilho")
    trilho_app.bus.publish("orders", {"id": 1}, key=1)
    assert told == []
    harness._stack.close()
    assert trilho_app.bus.outbox is outbox


def test_sagas_run_where_an_event_loop_runs_already(trilho: Harness, send: Any) -> None:
    def note(to: str, tx: Tx) -> str:
        tx.connection.execute("INSERT INTO people VALUES (%s)", (to,))
        return to

    async def wait() -> str:
        await asyncio.sleep(0)
        return "waited"

    @trilho.app.saga(name="welcome")
    async def welcome(saga: Saga, to: str) -> list[str]:
        return [await saga.step(note, to), await saga.step(wait), await saga.step(send, to)]

    async def test() -> list[str]:
        handle = await welcome.astart("ana")
        trilho.run_until_idle()
        return await handle.aget(timeout=1)

    assert asyncio.run(test()) == ["ana", "waited", "Welcome to ana"]


@pytest.mark.parametrize("test", ["first", "second"])
def test_sagas_of_each_test_are_in_its_own_database(trilho: Harness, send: Any, test: str) -> None:
    """The application is one for all tests, and so is the definition."""
    known = trilho.app.sagas.definitions.get("greet")
    if known is None:

        @trilho.app.saga(name="greet")
        async def greet(saga: Saga, to: str) -> str:
            return await saga.step(send, to)

        known = greet
    run = known.start(test)
    trilho.run_until_idle()
    assert run.get(5) == f"Welcome to {test}"
    assert len(trilho.app.sagas.list().items) == 1


def test_published_events_reach_the_sagas_that_wait_for_them_once(trilho: Harness) -> None:
    @trilho.app.saga(name="paid twice", events=("paid",))
    async def paid_twice(saga: Saga, order: int) -> list[int]:
        return [(await saga.wait_event("paid", key=order))["amount"] for _ in range(2)]

    handle = paid_twice.start(7)
    trilho.app.bus.publish("paid", {"amount": 1}, key=7)
    trilho.run_until_idle()
    assert handle.state == "WAITING"
    trilho.app.bus.publish("paid", {"amount": 2}, key=8)
    trilho.run_until_idle()
    assert handle.state == "WAITING"
    trilho.app.bus.publish("paid", {"amount": 3}, key=7)
    trilho.run_until_idle()
    assert handle.get(timeout=1) == [1, 3]
