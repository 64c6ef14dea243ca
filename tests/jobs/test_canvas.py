"""Chains, groups and chords lose nothing, double nothing, and leave nobody waiting."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import celery.exceptions
import pytest
from celery import chain, chord, group
from celery.result import AsyncResult, GroupResult

from tests.jobs.shop import Query, rolled_back
from trilho import Trilho
from trilho.testing import Harness

Calls = Counter[str]


class Tasks:
    """The tasks of these tests; every call of a body is counted."""

    def __init__(self, app: Trilho) -> None:
        self.calls: Calls = Counter()

        def counted(name: str, body: Callable[..., Any]) -> Any:
            body.__name__ = name
            return app.task(name=name)(body)

        def add(x: int, y: int) -> int:
            self.calls["add"] += 1
            return x + y

        def total(values: list[int], more: int = 0) -> int:
            self.calls["total"] += 1
            return sum(values) + more

        def fail(*_: Any) -> None:
            self.calls["fail"] += 1
            raise ValueError("on purpose")

        def note(value: Any = None) -> Any:
            self.calls["note"] += 1
            return value

        self.add, self.total, self.fail, self.note = (counted(body.__name__, body) for body in (add, total, fail, note))


@pytest.fixture
def tasks(app: Trilho) -> Tasks:
    return Tasks(app)


def parents(result: Any) -> Iterator[Any]:
    while result is not None:
        yield result
        result = result.parent


SHAPES: dict[str, Callable[[Tasks], tuple[Any, Any]]] = {
    "chain": lambda t: (chain(t.add.s(1, 1), t.add.s(1), t.add.s(1)), 4),
    "chain of one": lambda t: (chain(t.add.s(1, 1)), 2),
    "chain of chains": lambda t: (chain(t.add.s(1, 1), chain(t.add.s(1), t.add.s(1))), 4),
    "group": lambda t: (group(t.add.s(1, n) for n in range(3)), [1, 2, 3]),
    "group of one": lambda t: (group([t.add.s(1, 1)]), [2]),
    "group of chains": lambda t: (group(chain(t.add.s(n, 1), t.add.s(1)) for n in range(2)), [2, 3]),
    "chord": lambda t: (chord([t.add.s(1, n) for n in range(3)], t.total.s()), 6),
    "chord of one": lambda t: (chord([t.add.s(1, 1)], t.total.s()), 2),
    "chord of chains": lambda t: (chord([chain(t.add.s(n, 1), t.add.s(1)) for n in range(2)], t.total.s()), 5),
    "chord with a chain as body": lambda t: (chord([t.add.s(1, 1)] * 2, t.total.s() | t.add.s(1)), 5),
    "chord of chords": lambda t: (chord([chord([t.add.s(1, 1)] * 2, t.total.s()), t.add.s(1, 1)], t.total.s()), 6),
    "chain with a group inside": lambda t: (chain(t.add.s(1, 1), group(t.add.s(1), t.add.s(2)), t.total.s()), 7),
    "chain with a group inside and more": lambda t: (
        chain(t.add.s(1, 1), group(t.add.s(1), t.add.s(2)), t.total.s(), t.add.s(1)),
        8,
    ),
    "chain ending in a group": lambda t: (chain(t.add.s(1, 1), group(t.add.s(1), t.add.s(2))), [3, 4]),
    "chain with two groups": lambda t: (
        chain(group(t.add.s(1, 1), t.add.s(2, 2)), t.total.s(), group(t.add.s(1), t.add.s(2)), t.total.s()),
        15,
    ),
    "group with a group inside": lambda t: (group(t.add.s(1, 1), group(t.add.s(2, 2), t.add.s(3, 3))), [2, 4, 6]),
    "immutable steps": lambda t: (chain(t.add.s(1, 1), t.add.si(5, 5)), 10),
}
"""Signatures and what they come to."""

NAMES = sorted(SHAPES)


def gathered(result: Any) -> Any:
    return result.get(timeout=5)


@pytest.mark.parametrize("name", NAMES)
def test_shape_comes_to_its_result_and_every_job_ends(app: Trilho, trilho: Harness, tasks: Tasks, name: str) -> None:
    work, expected = SHAPES[name](tasks)
    result = work.apply_async()
    trilho.run_until_idle()
    assert gathered(result) == expected
    assert {(job.task, job.state) for job in app.jobs.list().items if job.state != "SUCCESS"} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_id_in_the_hands_of_the_client_is_known_at_once(trilho: Harness, tasks: Tasks, name: str) -> None:
    work, _ = SHAPES[name](tasks)
    result = work.apply_async()
    ids = [each for each in parents(result) if isinstance(each, AsyncResult)]
    for each in parents(result):
        if isinstance(each, GroupResult) and each.parent is None:
            ids += [member for member in each.results if isinstance(member, AsyncResult)]
    assert [each.exists() for each in ids] == [True] * len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_shape_inside_a_transaction_that_is_rolled_back_leaves_nothing(
    app: Trilho, tasks: Tasks, query: Query, name: str
) -> None:
    work, _ = SHAPES[name](tasks)
    with rolled_back(app):
        work.apply_async()
    for table in ("jobs", "chords", "chord_parts"):
        assert query(f"SELECT count(*) FROM trilho.{table}") == [(0,)]


@pytest.mark.parametrize("name", NAMES)
def test_first_step_that_fails_ends_all_that_hangs_on_it(app: Trilho, trilho: Harness, tasks: Tasks, name: str) -> None:
    work, _ = SHAPES[name](tasks)
    result = work.apply_async()
    trilho.fail(tasks.add, ValueError("on purpose"))
    trilho.run_until_idle()
    assert result.ready()
    with pytest.raises((ValueError, celery.exceptions.ChordError), match="on purpose"):
        result.get(timeout=5)
    assert {job.state for job in app.jobs.list().items} <= {"SUCCESS", "FAILURE"}


@pytest.mark.parametrize("name", NAMES)
def test_first_step_that_is_cancelled_ends_all_that_hangs_on_it(
    app: Trilho, trilho: Harness, tasks: Tasks, name: str
) -> None:
    work, _ = SHAPES[name](tasks)
    result = work.apply_async()
    with app.database.connection() as connection:
        first = connection.execute(
            "SELECT id FROM trilho.jobs WHERE NOT held ORDER BY created_at, id LIMIT 1"
        ).fetchone()
    assert first is not None
    app.jobs.cancel(first[0])
    trilho.run_until_idle()
    assert result.ready()
    assert {job.state for job in app.jobs.list().items} <= {"SUCCESS", "FAILURE", "REVOKED"}


@pytest.mark.parametrize("name", NAMES)
def test_step_that_is_retried_doubles_nothing(app: Trilho, trilho: Harness, tasks: Tasks, name: str) -> None:
    class Passing(Exception): ...

    tasks_of = app.tasks["add"]
    work, expected = SHAPES[name](tasks)
    calls = Counter[str]()
    run = tasks_of.run

    def flaky(x: int, y: int) -> int:
        calls[tasks_of.request.id] += 1
        if calls[tasks_of.request.id] == 1:
            raise tasks_of.retry(exc=Passing(), countdown=0)
        return int(run(x, y))

    tasks_of.run = flaky
    result = work.apply_async()
    trilho.run_until_idle()
    assert gathered(result) == expected
    assert set(calls.values()) == {2}
    assert all(count <= 2 for count in tasks.calls.values() if count) or tasks.calls["add"] == len(calls)


# ---- members and steps one by one


def test_failing_member_fails_the_chord_once_all_have_returned(app: Trilho, trilho: Harness, tasks: Tasks) -> None:
    result = chord([tasks.add.s(1, 1), tasks.fail.s(), tasks.add.s(2, 2)])(tasks.total.s())
    trilho.run_until_idle()
    assert result.ready()
    assert "ChordError" in str(app.jobs.get(result.id).error)
    assert "on purpose" in str(app.jobs.get(result.id).error)
    assert tasks.calls == {"add": 2, "fail": 1}


def test_error_link_of_a_chord_runs_once(trilho: Harness, tasks: Tasks) -> None:
    body = tasks.total.s()
    chord([tasks.fail.s(), tasks.fail.s()])(body.on_error(tasks.note.si("failed")))
    trilho.run_until_idle()
    assert tasks.calls["note"] == 1


@pytest.mark.parametrize("how", ["expires", "cancelled"])
def test_member_that_never_began_fails_the_chord(app: Trilho, trilho: Harness, tasks: Tasks, how: str) -> None:
    result = chord([tasks.add.s(1, 1).set(expires=60), tasks.add.s(2, 2)])(tasks.total.s())
    if how == "expires":
        trilho.advance(hours=1)
    else:
        app.jobs.cancel(result.parent.results[0].id)
    trilho.run_until_idle()
    assert "ChordError" in str(app.jobs.get(result.id).error)


def test_member_that_returned_already_is_not_counted_twice(trilho: Harness, tasks: Tasks, query: Query) -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)])(tasks.total.s())
    query("UPDATE trilho.jobs SET run_at = now() + interval '1 day' WHERE id = %s", result.parent.results[1].id)
    trilho.run_until_idle()
    query(
        "UPDATE trilho.jobs SET state = 'PENDING', finished_at = NULL, worker = NULL WHERE id = %s",
        result.parent.results[0].id,
    )
    trilho.run_until_idle()
    assert result.state == "PENDING"
    trilho.advance(days=2)
    trilho.run_until_idle()
    assert result.get(timeout=1) == 6
    assert tasks.calls["total"] == 1


def test_results_of_a_chord_keep_the_order_of_its_members(trilho: Harness, tasks: Tasks, query: Query) -> None:
    result = chord([tasks.add.s(number, 0) for number in range(5)])(tasks.note.s())
    query("UPDATE trilho.jobs SET priority = (random() * 9)::int WHERE NOT held")
    trilho.run_until_idle()
    assert result.get(timeout=1) == [0, 1, 2, 3, 4]


def test_chord_of_nothing_runs_its_body(trilho: Harness, tasks: Tasks) -> None:
    result = chord([])(tasks.total.s(more=5))
    trilho.run_until_idle()
    assert result.get(timeout=1) == 5


def test_cancelled_later_step_stays_cancelled_and_those_behind_it_end(
    app: Trilho, trilho: Harness, tasks: Tasks
) -> None:
    result = chain(tasks.add.s(1, 1), tasks.add.s(1), tasks.add.s(1)).apply_async()
    app.jobs.cancel(result.parent.id)
    trilho.run_until_idle(limit=5)
    assert [each.state for each in parents(result)] == ["REVOKED", "REVOKED", "SUCCESS"]


def test_failed_chain_that_runs_again_goes_on_to_its_end(app: Trilho, trilho: Harness, tasks: Tasks) -> None:
    trilho.fail(tasks.add, ValueError("on purpose"))
    result = chain(tasks.add.s(1, 1), tasks.add.s(1), tasks.add.s(1)).apply_async()
    ids = [each.id for each in parents(result)]
    trilho.run_until_idle()
    assert [app.jobs.get(job_id).state for job_id in ids] == ["FAILURE"] * 3
    app.jobs.retry(ids[-1])
    assert [app.jobs.get(job_id).state for job_id in ids] == ["PENDING"] * 3
    trilho.run_until_idle(limit=5)
    assert app.jobs.get(ids[0]).result == 4


def test_step_that_was_cancelled_itself_is_not_revived_with_its_chain(
    app: Trilho, trilho: Harness, tasks: Tasks
) -> None:
    trilho.fail(tasks.add, ValueError("on purpose"))
    result = chain(tasks.add.s(1, 1), tasks.add.s(1), tasks.add.s(1)).apply_async()
    app.jobs.cancel(result.id)
    trilho.run_until_idle()
    app.jobs.retry(result.parent.parent.id)
    trilho.run_until_idle(limit=5)
    assert [each.state for each in parents(result)] == ["REVOKED", "SUCCESS", "SUCCESS"]


def test_link_whose_id_is_taken_does_not_undo_the_success(app: Trilho, trilho: Harness, tasks: Tasks) -> None:
    for number in (1, 2):
        tasks.add.apply_async((number, 0), link=tasks.note.s().set(task_id="taken"))
    jobs = trilho.run_until_idle(limit=5)
    assert {job.state for job in jobs} == {"SUCCESS"}
    assert tasks.calls == {"add": 2, "note": 1}


def test_later_steps_keep_the_options_of_their_tasks(app: Trilho, trilho: Harness) -> None:
    @app.task(max_retries=9, max_crashes=7)
    def step(value: int) -> int:
        return value

    result = chain(step.s(1), step.s().set(queue="low", priority=4, expires=3600)).apply_async()
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert (job.queue, job.priority, job.max_attempts, job.parent_id) == ("low", 4, 10, result.parent.id)
    assert job.expires_at is not None


def test_held_step_is_never_claimed_before_its_turn(app: Trilho, tasks: Tasks, query: Query) -> None:
    from uuid import uuid4

    from trilho.jobs import store

    result = chain(tasks.add.s(1, 1), tasks.add.s(1)).apply_async()
    with app.database.connection() as connection:
        assert store.claim(connection, [result.id], store.Claimant(uuid4(), uuid4(), "w")) == []


def test_group_made_in_a_body_joins_the_chord_of_its_parent(app: Trilho, trilho: Harness, tasks: Tasks) -> None:
    @app.task(bind=True)
    def fan_out(self: Any) -> None:
        self.add_to_chord(tasks.add.s(10, 10), lazy=False)

    result = chord([fan_out.s(), tasks.add.s(1, 1)])(tasks.note.s())
    trilho.run_until_idle()
    assert sorted(value or 0 for value in result.get(timeout=1)) == [0, 2, 20]
