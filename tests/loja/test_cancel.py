"""Cancel, retry and streams over HTTP, while real workers work, die and come back."""

import time

import pytest

from tests.http.sse import following
from tests.lab.poll import eventually
from tests.loja.shop import Shop

ROWS = 2_000_000


def running(shop: Shop, name: str) -> str:
    """A job that runs and would for a long time."""
    task_id = shop.start("/process-csv", filename=name, num_rows=ROWS)
    eventually(lambda: shop.task(task_id)["status"], lambda status: status == "PROCESSING")
    return task_id


def test_a_waiting_job_is_revoked_at_once_and_runs_when_it_is_asked_to(idle_shop: Shop) -> None:
    task_id = idle_shop.start("/aggregate", region="sul", month="1999-01")
    assert idle_shop.client.delete(f"/tasks/{task_id}").json()["status"] == "REVOKED"
    with idle_shop.worker("first"):
        other = idle_shop.start("/aggregate", region="norte", month="1999-01")
        assert idle_shop.finished(other)["status"] == "SUCCESS"
        assert idle_shop.task(task_id)["attempt"] == 0
        answer = idle_shop.client.post(f"/tasks/{task_id}/retry")
        assert (answer.status_code, answer.headers["location"]) == (202, f"/tasks/{task_id}")
        assert idle_shop.finished(task_id)["status"] == "SUCCESS"
        assert idle_shop.client.post(f"/tasks/{task_id}/retry").status_code == 409
        assert idle_shop.client.delete(f"/tasks/{task_id}").json()["state"] == "SUCCESS"


def test_a_running_job_ends_within_seconds_and_its_stream_says_so(shop: Shop) -> None:
    task_id = running(shop, "stopped.csv")
    with following(shop.client, task_id) as stream:
        assert stream.next().document["status"] == "PROCESSING"
        begin = time.monotonic()
        assert shop.client.delete(f"/tasks/{task_id}").status_code == 200
        states = [event.document["status"] for event in stream.rest()]
    assert states[-1] == "REVOKED"
    assert time.monotonic() - begin < 5
    assert shop.client.delete(f"/tasks/{task_id}").json()["status"] == "REVOKED"


def test_a_stream_shows_progress_and_the_result(shop: Shop) -> None:
    task_id = shop.start("/process-csv", filename="followed.csv", num_rows=200_000)
    with following(shop.client, task_id) as stream:
        seen = [event.document for event in stream.rest()]
    messages = [task["progress"]["message"] for task in seen if task["progress"]]
    assert any("of 200,000 rows" in message for message in messages)
    assert (seen[-1]["status"], seen[-1]["result"]["rows"]) == ("SUCCESS", 200_000)
    assert seen[-1] == shop.task(task_id)


@pytest.mark.parametrize("ahead", [True, False], ids=["before the worker is lost", "after it"])
def test_a_cancel_survives_the_loss_of_the_worker(idle_shop: Shop, ahead: bool) -> None:
    with idle_shop.worker("doomed") as doomed:
        task_id = running(idle_shop, "lost.csv")
        if ahead:
            doomed.freeze()
            assert idle_shop.client.delete(f"/tasks/{task_id}").status_code == 200
        doomed.end()
    if not ahead:
        assert idle_shop.client.delete(f"/tasks/{task_id}").status_code == 200
    with idle_shop.worker("heir"):
        task = idle_shop.finished(task_id, timeout=20)
    assert (task["status"], task["attempt"]) == ("REVOKED", 1)
