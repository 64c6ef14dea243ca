"""`self.replace`: another task, chain or group runs under the id that the client knows."""

from typing import Any

import pytest
from celery import chain, chord, group

from trilho import Task, Trilho
from trilho.testing import Harness

Add = Task[[int, int], int]


@pytest.fixture
def add(app: Trilho) -> Add:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


@pytest.fixture
def total(app: Trilho) -> Any:
    @app.task(name="total")
    def total(values: list[int]) -> int:
        return sum(values)

    return total


def replacing(app: Trilho, signature: Any) -> Any:
    @app.task(bind=True, name="replacing")
    def work(self: Any) -> None:
        raise self.replace(signature())

    return work


def test_task_takes_the_id_over(app: Trilho, trilho: Harness, add: Add) -> None:
    result = replacing(app, lambda: add.s(1, 2).set(queue="low")).delay()
    assert [job.id for job in trilho.run_until_idle()] == [result.id]
    job = app.jobs.get(result.id)
    assert (job.task, job.queue, job.result, job.attempt) == ("add", "low", 3, 2)


def test_chain_gives_its_last_step_the_id(app: Trilho, trilho: Harness, add: Add) -> None:
    result = replacing(app, lambda: chain(add.s(1, 1), add.s(5), add.s(10))).delay()
    trilho.run_until_idle()
    assert result.get(timeout=1) == 17
    assert app.jobs.get(result.id).task == "add"


@pytest.mark.parametrize("members", [1, 2, 5])
def test_group_gathers_under_the_id(app: Trilho, trilho: Harness, add: Add, members: int) -> None:
    result = replacing(app, lambda: group(add.s(number, 1) for number in range(members))).delay()
    trilho.run_until_idle()
    assert result.get(timeout=1) == [number + 1 for number in range(members)]


def test_chord_gives_its_body_the_id(app: Trilho, trilho: Harness, add: Add, total: Any) -> None:
    result = replacing(app, lambda: chord([add.s(1, 1), add.s(2, 2)], total.s())).delay()
    trilho.run_until_idle()
    assert result.get(timeout=1) == 6


@pytest.mark.parametrize("shape", ["task", "chain", "group"])
def test_step_of_a_chain_is_replaced_within_it(app: Trilho, trilho: Harness, add: Add, total: Any, shape: str) -> None:
    shapes = {
        "task": lambda: add.s(1, 1),
        "chain": lambda: chain(add.s(1, 0), add.s(1)),
        "group": lambda: group(add.s(1, 0), add.s(1, 0)) | total.s(),
    }
    work = replacing(app, shapes[shape])
    result = chain(work.s(), add.s(100), add.s(1000)).apply_async()
    trilho.run_until_idle()
    assert result.get(timeout=1) == 1102
    assert {job.state for job in app.jobs.list().items} == {"SUCCESS"}


@pytest.mark.parametrize("shape", ["task", "chain", "group"])
def test_member_of_a_chord_is_replaced_within_it(
    app: Trilho, trilho: Harness, add: Add, total: Any, shape: str
) -> None:
    shapes = {
        "task": lambda: add.s(1, 1),
        "chain": lambda: chain(add.s(1, 0), add.s(1)),
        "group": lambda: group(add.s(1, 0), add.s(1, 0)) | total.s(),
    }
    result = chord([replacing(app, shapes[shape]).s(), add.s(5, 5)])(total.s())
    trilho.run_until_idle()
    assert result.get(timeout=1) == 12


def test_links_of_the_replaced_task_run_once_after_its_replacement(app: Trilho, trilho: Harness, add: Add) -> None:
    seen: list[int] = []

    @app.task
    def then(value: int) -> None:
        seen.append(value)

    work = replacing(app, lambda: chain(add.s(1, 1), add.s(5)))
    work.apply_async(link=then.s())
    trilho.run_until_idle()
    assert seen == [7]


def test_replacement_that_fails_fails_the_id(app: Trilho, trilho: Harness, add: Add) -> None:
    result = replacing(app, lambda: chain(add.s(1, "1"), add.s(5))).delay()
    trilho.run_until_idle()
    with pytest.raises(TypeError):
        result.get(timeout=1)


def test_every_id_stays_known_while_it_is_replaced(app: Trilho, trilho: Harness, add: Add) -> None:
    known: list[bool] = []

    @app.task(bind=True)
    def work(self: Any) -> None:
        raise self.replace(chain(add.s(1, 1), add.s(5)))

    @app.task
    def look(job_id: str) -> None:
        known.append(app.AsyncResult(job_id).exists() and not app.AsyncResult(job_id).ready())

    result = work.delay()
    app.jobs.list()
    job_ids = [job.id for job in trilho.run_until_idle()]
    assert result.id in job_ids
    assert result.get(timeout=1) == 7
