"""`trilho sagas …`: what is printed, and what is refused in one line."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from trilho import Trilho
from trilho.cli.root import cli
from trilho.errors import SagaStateError, UnknownSaga
from trilho.testing import Harness

Run = Callable[..., Result]
MODULE = """
from trilho import PermanentError, Retry, Saga, Trilho
app = Trilho("shop", broker="memory://")

def pay(order: int) -> str:
    return f"paid {order}"

def refund(order: int) -> None:
    raise PermanentError("the bank is closed")

@app.saga
async def place_order(saga: Saga, order: int) -> str:
    paid = await saga.step(pay, order, undo=refund)
    await saga.wait_signal("packed")
    return paid
"""


@pytest.fixture
def project(load: Callable[[str], Trilho], database: str) -> tuple[Run, Callable[[], None]]:
    """Runs a command on an application of its own; runs its jobs."""
    app = load(MODULE)

    def work() -> None:
        with Harness(app, database) as harness:
            harness.run_until_idle()

    return lambda *arguments: CliRunner().invoke(cli, ["sagas", *arguments]), work


def test_run_is_started_shown_signalled_and_seen_to_complete(project: tuple[Run, Callable[[], None]]) -> None:
    run, work = project
    assert run("start", "place_order", "--args", "[7]", "--id", "order-7").stdout == "order-7 is RUNNING\n"
    work()
    [step, wait] = json.loads(run("history", "order-7", "--json").stdout)
    assert (step["number"], step["name"], step["result"]) == ("1", "pay", "paid 7")
    assert (wait["kind"], wait["name"], wait["state"]) == ("signal", "packed", "WAITING")
    assert "paid 7" in run("show", "order-7").stdout
    assert run("signal", "order-7", "packed", '{"by": "ana"}').stdout == "order-7 is RUNNING\n"
    work()
    assert json.loads(run("show", "order-7", "--json").stdout)["result"] == "paid 7"
    [listed] = json.loads(run("list", "--state", "completed", "--json").stdout)["items"]
    assert listed["id"] == "order-7"
    assert "place_order" in run("list").stdout


def test_stuck_run_is_cancelled_retried_and_settled(project: tuple[Run, Callable[[], None]]) -> None:
    run, work = project
    run("start", "place_order", "--args", "[8]", "--id", "order-8")
    work()
    assert run("cancel", "order-8").exit_code == 0
    work()
    assert "the bank is closed" in run("list", "--state", "STUCK").stdout
    assert run("retry", "order-8").exit_code == 0
    work()
    assert run("skip", "order-8", "1:undo", "--result", "null").stdout.startswith("order-8 is COMPENSATING")
    work()
    assert json.loads(run("show", "order-8", "--json").stdout)["state"] == "COMPENSATED"
    assert isinstance(run("retry", "order-8").exception, SagaStateError)


def test_mistakes_are_told_in_one_line(project: tuple[Run, Callable[[], None]]) -> None:
    run, _ = project
    for arguments, told in [
        (("start", "place_ordr"), "the app has no saga 'place_ordr'; there are place_order"),
        (("start", "place_order", "--args", "{}"), "--args must be a JSON list"),
        (("start", "place_order", "--args", '["x"]'), "argument 'order' of saga place_order does not fit"),
        (("start", "place_order"), "missing a required argument: 'order'"),
    ]:
        refused = run(*arguments)
        assert refused.exit_code == 1
        assert told in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert isinstance(run("show", "nobody").exception, UnknownSaga)
