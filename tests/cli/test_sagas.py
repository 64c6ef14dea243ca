"""`trilho sagas …`: what is printed, and what is refused in one line."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.lab import database as databases
from trilho import Trilho
from trilho.cli.root import cli
from trilho.errors import SagaStateError, UnknownSaga
from trilho.testing import Harness

Run = Callable[..., Result]
MODULE = """
from typing import Any
from trilho import PermanentError, Retry, Saga, Trilho
app = Trilho("shop", broker="memory://")

def pay(order: int) -> str:
    return f"paid {order}"

def refund(order: int) -> None:
    raise PermanentError("the bank\\n  is closed")

@app.saga
async def place_order(saga: Saga, order: int) -> str:
    paid = await saga.step(pay, order, undo=refund)
    await saga.wait_signal("packed")
    return paid

@app.saga
async def keep(saga: Saga, what: Any) -> Any:
    return what
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
    assert run("cancel", "order-8").stdout == "order-8 is RUNNING, and will be undone: its cancel was asked for\n"
    assert "cancel_requested_at 20" in run("show", "order-8").stdout
    work()
    listed = run("list", "--state", "STUCK").stdout
    assert "the bank is closed" in listed
    assert [len(text.splitlines()) for text in (listed, run("history", "order-8").stdout)] == [2, 4]
    assert run("retry", "order-8").exit_code == 0
    work()
    assert run("skip", "order-8", "1:undo", "--result", "null").stdout.startswith("order-8 is COMPENSATING")
    work()
    assert json.loads(run("show", "order-8", "--json").stdout)["state"] == "COMPENSATED"
    assert isinstance(run("retry", "order-8").exception, SagaStateError)


def test_mistakes_are_told_in_one_line(project: tuple[Run, Callable[[], None]]) -> None:
    run, _ = project
    for arguments, told in [
        (("start", "place_ordr"), "the app has no saga 'place_ordr'; there are keep, place_order"),
        (("start", "place_order", "--args", "{}"), "--args must be a JSON list"),
        (("start", "place_order", "--args", '["x"]'), "argument 'order' of saga place_order does not fit"),
        (("start", "place_order", "--args", "[NaN]"), "--args is not JSON: it has no such number as NaN"),
        (("start", "place_order", "--args", "[1e999]"), "--args is not JSON: it has no such number as 1e999"),
        (("list", "--cursor", "zzz"), "'zzz' is no cursor"),
        (("list", "--cursor", "9" * 5000 + ":a"), "is no cursor"),
        (("list", "--cursor", "9" * 30 + ":a"), "is no cursor"),
        (("list", "--cursor", "5:"), "is no cursor"),
        (("start", "place_order"), "missing a required argument: 'order'"),
    ]:
        refused = run(*arguments)
        assert refused.exit_code == 1
        assert told in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert isinstance(run("show", "nobody").exception, UnknownSaga)
    refused = run("list", "--state", "BOGUS")
    assert refused.exit_code == 2
    assert "COMPENSATED" in refused.stderr


def test_result_that_cannot_be_stored_is_refused_in_one_line(project: tuple[Run, Callable[[], None]]) -> None:
    run, work = project
    run("start", "place_order", "--args", "[9]", "--id", "order-9")
    work()
    refused = run("skip", "order-9", "2", "--result", "[" * 300 + "]" * 300)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert "the result of step 2 cannot be stored as JSON: nested deeper than 200 levels" in refused.stderr


def test_signal_that_cannot_be_stored_is_refused_in_one_line(project: tuple[Run, Callable[[], None]]) -> None:
    run, _ = project
    run("start", "place_order", "--args", "[9.0]", "--id", "order-9")
    assert run("start", "place_order", "--args", "[9]", "--id", "order-9").exit_code == 0
    for arguments in ((), ("x" * 256,), ("packed", "1", "--message-id", "x" * 256)):
        refused = run("signal", "order-9", *(arguments or ("",)))
        assert refused.exit_code == 1
        assert "must be a text of 1 to 255 characters" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_attempts_that_ended_with_their_worker_are_told(project: tuple[Run, Callable[[], None]], database: str) -> None:
    run, work = project
    run("start", "place_order", "--args", "[7]", "--id", "order-7")
    work()
    assert "worker lost" not in run("show", "order-7").stdout
    with databases.connect(database) as connection:
        lost = "INSERT INTO trilho.job_attempts (job_id, number, outcome, crash, error, worker_name) SELECT"
        stretch = "FROM trilho.jobs WHERE task = 'trilho.saga.place_order'"
        connection.execute(f"{lost} id, 1, 'LOST', true, 'worker lost: killed', 'w@h' {stretch}".encode())
        connection.execute(f"{lost} id, 2, 'RELEASED', false, 'it stops', 'w@h' {stretch}".encode())
        connection.execute(f"{lost} 'charge', 3, 'FAILURE', true, 'WorkerLostError', NULL".encode())
        connection.execute("UPDATE trilho.saga_steps SET job_id = 'charge' WHERE path = '1'")
    told = [line.split("UTC", 1)[1] for line in run("show", "order-7").stdout.splitlines() if "worker lost" in line]
    [first, second] = json.loads(run("show", "order-7", "--json").stdout)["lost"]
    assert told[0] == f" on w@h, in attempt 1 of a stretch of the run (job {first['job_id']}): killed"
    assert told[1] == ", in attempt 3 of step 1 (job charge): WorkerLostError"
    assert (first["worker"], first["step"], second["step"], second["attempt"]) == ("w@h", None, "1", 3)


def test_whatever_a_run_was_given_is_shown(project: tuple[Run, Callable[[], None]], database: str) -> None:
    run, work = project
    run("start", "keep", "--args", r'["\ud800"]', "--id", "half")
    run("start", "keep", "--args", '[{"__type__": "base64", "__value__": "/w=="}]', "--id", "bytes")
    run("start", "keep", "--args", "[1]", "--id", "deep")
    work()
    for depth in (500, 5000):
        with databases.connect(database) as connection:
            text = "[" * depth + "]" * depth
            values = (f'{{"what": {text}}}', text)
            connection.execute("UPDATE trilho.sagas SET args = %s, result = %s WHERE id = 'deep'", values)
        for arguments in (("list",), ("list", "--json"), ("show", "deep"), ("show", "deep", "--json")):
            assert run(*arguments).exit_code == 0
    assert run("show", "half").stdout.count(r"\ud800") == 2
    assert json.loads(run("show", "half", "--json").stdout)["result"] == r"\ud800"
    assert json.loads(run("show", "bytes", "--json").stdout)["result"]["__value__"] == "/w=="


def test_run_that_no_living_worker_knows_says_so(project: tuple[Run, Callable[[], None]], database: str) -> None:
    run, _ = project
    run("start", "place_order", "--args", "[5]", "--id", "order-5")
    told = "a worker that knows the saga 'place_order': none that lives does"
    assert told in run("show", "order-5").stdout
    with databases.connect(database) as connection:
        connection.execute(
            "INSERT INTO trilho.processes (incarnation, kind, name, hostname, pid, tasks, version, lease)"
            " VALUES (gen_random_uuid(), 'worker', 'w', 'h', 1, '{trilho.saga.place_order}', '1', '1 hour')"
        )
    assert told not in run("show", "order-5").stdout
