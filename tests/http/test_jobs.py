"""Routes of one job."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.http.conftest import Change, Client
from tests.lab import database as databases
from trilho import Trilho


def enqueue(app: Trilho, **options: object) -> str:
    return str(app.send_task("shop.pack", ("book",), **options).id)


def test_a_waiting_job_shows_every_field(app: Trilho, client: Client) -> None:
    job_id = enqueue(app, queue="slow")
    shown = client.get(f"/tasks/{job_id}").json()
    assert datetime.fromisoformat(shown.pop("created_at")) > datetime.now(UTC) - timedelta(minutes=1)
    assert shown.pop("max_attempts") in {None, 4}
    assert shown == {
        "task_id": job_id,
        "name": "shop.pack",
        "status": "PENDING",
        "attempt": 0,
        "progress": None,
        "result": None,
        "error": None,
        "queue": "slow",
        "worker": None,
        "started_at": None,
        "finished_at": None,
        "next_run_at": None,
    }


def test_progress_is_shown_with_all_its_fields(app: Trilho, client: Client, change: Change) -> None:
    job_id = enqueue(app)
    progress = {"current": 20000, "total": 50000, "percent": 40.0, "message": "read"}
    change(job_id, state="PROCESSING", progress=json.dumps(progress), attempt=1)
    shown = client.get(f"/tasks/{job_id}")
    assert shown.json()["progress"] == progress
    assert '"current":20000,' in shown.text


@pytest.mark.parametrize("progress", [{"step": "packing"}, ["packing"], "packing", {"current": ["packing"]}])
def test_progress_of_any_other_shape_is_shown(app: Trilho, client: Client, change: Change, progress: object) -> None:
    job_id = enqueue(app)
    change(job_id, state="PROCESSING", progress=json.dumps(progress))
    assert "packing" in client.get(f"/tasks/{job_id}").text


def test_any_json_result_is_shown_as_it_is(app: Trilho, client: Client, change: Change) -> None:
    job_id = enqueue(app)
    result = {"list": [1, 2.5, None, True, "é\x00"], "deep": {"": []}}
    change(job_id, state="SUCCESS", result=json.dumps(result))
    assert client.get(f"/tasks/{job_id}").json()["result"] == result


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"__type__": "base64", "__value__": "/w=="}, {"__type__": "base64", "__value__": "/w=="}),
        ({"__type__": "bytes", "__value__": "é"}, "é"),
        ({"__type__": "datetime", "__value__": "2026-11-23T10:00:00"}, "2026-11-23T10:00:00"),
        ({"__type__": "datetime", "__value__": "noon"}, {"__type__": "datetime", "__value__": "noon"}),
        (["\ud800", float("inf")], [r"\ud800", "Infinity"]),
    ],
)
def test_a_result_that_is_no_plain_json_is_shown(
    app: Trilho, client: Client, change: Change, result: object, shown: object
) -> None:
    job_id = enqueue(app)
    change(job_id, state="SUCCESS", result=json.dumps(result), progress=json.dumps(result))
    assert client.get(f"/tasks/{job_id}").json()["result"] == shown


def test_a_job_that_waits_for_a_later_time_says_when(app: Trilho, client: Client) -> None:
    shown = client.get(f"/tasks/{enqueue(app, countdown=3600)}").json()
    assert shown["status"] == "PENDING"
    assert datetime.fromisoformat(shown["next_run_at"]) > datetime.now(UTC) + timedelta(minutes=59)


@pytest.mark.parametrize("task_id", ["nobody", "a%00b", "x" * 256, "x" * 10_000, "%F0%90%80%80", "%ED%A0%80", "%20"])
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", "/retry")])
def test_an_unknown_id_is_404(client: Client, task_id: str, method: str, suffix: str) -> None:
    answer = client.request(method, f"/tasks/{task_id}{suffix}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:trilho:problem:unknown-job")


def test_cancel_of_a_waiting_job_revokes_it(app: Trilho, client: Client) -> None:
    job_id = enqueue(app)
    answer = client.delete(f"/tasks/{job_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "REVOKED")
    assert app.jobs.get(job_id).state == "REVOKED"


def test_a_second_cancel_answers_as_the_first(app: Trilho, client: Client) -> None:
    """DELETE is idempotent: who lost the answer sends it again, and has what he asked for."""
    job_id = enqueue(app)
    first, second = client.delete(f"/tasks/{job_id}"), client.delete(f"/tasks/{job_id}")
    assert (second.status_code, second.json()) == (200, first.json())


@pytest.mark.parametrize("state", ["STARTED", "PROCESSING"])
def test_cancel_of_a_running_job_is_remembered_for_its_worker(
    app: Trilho, client: Client, change: Change, database: str, state: str
) -> None:
    job_id = enqueue(app)
    change(job_id, state=state)
    for _ in range(2):
        answer = client.delete(f"/tasks/{job_id}")
        assert (answer.status_code, answer.json()["status"]) == (200, state)
    with databases.connect(database) as connection:
        query = "SELECT count(*) FROM trilho.jobs WHERE cancel_requested_at IS NOT NULL"
        assert connection.execute(query).fetchone() == (1,)


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE"])
def test_cancel_of_a_finished_job_is_409_and_names_the_state(
    app: Trilho, client: Client, change: Change, state: str
) -> None:
    job_id = enqueue(app)
    change(job_id, state=state)
    answer = client.delete(f"/tasks/{job_id}")
    assert (answer.status_code, answer.json()["state"]) == (409, state)


def test_a_failure_runs_again_under_its_id(app: Trilho, client: Client, change: Change) -> None:
    job_id = enqueue(app)
    change(job_id, state="FAILURE", error="ValueError: no", attempt=4, retries=3)
    answer = client.post(f"/tasks/{job_id}/retry")
    assert answer.status_code == 202
    assert answer.json() == {"task_id": job_id, "status": "PENDING", "status_url": f"/tasks/{job_id}"}
    assert answer.headers["location"] == f"/tasks/{job_id}"
    assert app.jobs.get(job_id).state == "PENDING"


@pytest.mark.parametrize("state", ["PENDING", "RETRY", "SUCCESS"])
def test_retry_of_a_job_that_did_not_fail_is_409(app: Trilho, client: Client, change: Change, state: str) -> None:
    job_id = enqueue(app)
    change(job_id, state=state)
    answer = client.post(f"/tasks/{job_id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (409, state)


def test_an_id_of_the_callers_own_is_quoted_in_its_url(app: Trilho, client: Client, change: Change) -> None:
    job_id = enqueue(app, task_id="pedido 7 é?")
    change(job_id, state="FAILURE")
    location = client.post("/tasks/pedido%207%20%C3%A9%3F/retry").headers["location"]
    assert client.get(location).json()["task_id"] == "pedido 7 é?"
