"""A caller's `task_id` used twice: the same call is the same job, another call is an error."""

import threading
from typing import Any

import pytest

from tests.jobs.shop import Query, Wakeups
from trilho import DuplicateJob, Task, Trilho
from trilho.testing import Harness

Add = Task[[int, int], int]


@pytest.fixture
def add(app: Trilho) -> Add:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_same_call_again_is_the_same_job(app: Trilho, add: Add, trilho: Harness, query: Query) -> None:
    for _ in range(2):
        add.apply_async((1, 2), task_id="one")
    assert query("SELECT count(*) FROM trilho.jobs") == [(1,)]
    trilho.run_until_idle()
    add.apply_async((1, 2), task_id="one")
    assert trilho.run_until_idle() == []
    assert app.jobs.get("one").result == 3


@pytest.mark.parametrize(
    "other", [{"args": (2, 2)}, {"kwargs": {"x": 1, "y": 2}}, {"name": "elsewhere", "args": (1, 2)}]
)
def test_other_call_with_the_same_id_raises_and_changes_nothing(
    app: Trilho, add: Add, query: Query, other: dict[str, Any]
) -> None:
    add.apply_async((1, 2), task_id="one")
    before = query("SELECT * FROM trilho.jobs")
    with pytest.raises(DuplicateJob, match="'one'"):
        app.send_task(**{"name": "add", "task_id": "one", **other})
    assert query("SELECT * FROM trilho.jobs") == before


def test_other_call_in_one_transaction_raises(app: Trilho, add: Add, query: Query) -> None:
    with pytest.raises(DuplicateJob), app.transaction():  # noqa: PT012 - the commit raises
        add.apply_async((1, 2), task_id="one")
        add.apply_async((2, 2), task_id="one")
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]


def test_same_call_in_one_transaction_is_one_job(app: Trilho, add: Add, query: Query) -> None:
    with app.transaction():
        for _ in range(3):
            add.apply_async((1, 2), task_id="one")
    assert query("SELECT count(*) FROM trilho.jobs") == [(1,)]


def test_duplicate_does_not_break_the_connection_of_the_transaction(app: Trilho, add: Add, query: Query) -> None:
    add.apply_async((1, 2), task_id="one")
    with app.transaction() as tx:
        kept = add.delay(3, 3)
        with pytest.raises(DuplicateJob), tx.connection.transaction():
            add.apply_async((2, 2), task_id="one")
    assert kept.exists()


def test_one_of_many_callers_at_once_makes_the_job(app: Trilho, add: Add, wakeups: Wakeups, query: Query) -> None:
    start = threading.Barrier(4)
    outcomes: list[str] = []

    def call(number: int) -> None:
        start.wait()
        try:
            add.apply_async((number, 0), task_id="one")
            outcomes.append("made")
        except DuplicateJob:
            outcomes.append("refused")

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "refused", "refused", "refused"]
    assert query("SELECT count(*) FROM trilho.jobs") == [(1,)]
    assert len(wakeups) == 1
