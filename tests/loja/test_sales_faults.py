"""Sales jobs whose worker is killed, and whose attempts fail on purpose."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.lab.poll import eventually
from tests.loja.shop import Json, Shop

BETWEEN = {"RETRY", "FAILURE"}


def hurry(shop: Shop, task_id: str) -> None:
    """Let the job's next attempt begin now."""
    shop.query("UPDATE trilho.jobs SET run_at = clock_timestamp() WHERE id = %s AND state = 'RETRY'", task_id)


def lives(shop: Shop, task_id: str) -> Iterator[Json]:
    """What the job looks like between its attempts and at its end, without the pauses."""
    task = between(shop, task_id, 1)
    while task["status"] != "FAILURE":
        yield task
        hurry(shop, task_id)
        task = between(shop, task_id, task["attempt"] + 1)
    yield task


def between(shop: Shop, task_id: str, attempt: int) -> Json:
    """The job after this attempt."""
    return eventually(
        lambda: shop.task(task_id), lambda task: task["attempt"] >= attempt and task["status"] in BETWEEN, every=0.01
    )


def pause(task: Json) -> float:
    """Seconds between the end of the attempt and the next one, as the job tells it."""
    return (datetime.fromisoformat(task["next_run_at"]) - datetime.fromisoformat(task["started_at"])).total_seconds()


def test_provoked_failures_are_retried_with_back_off_until_the_job_is_out_of_retries(idle_shop: Shop) -> None:
    task_id = idle_shop.start("/process-csv", filename="unlucky.csv", num_rows=100)
    with idle_shop.worker("unlucky", LOJA_FAILURE_RATE="1"):
        seen = list(lives(idle_shop, task_id))
    waiting, failed = [task for task in seen if task["status"] == "RETRY"], seen[-1]
    assert all("on purpose" in task["error"] and task["max_attempts"] == 6 for task in waiting)
    pauses = [pause(task) for task in waiting if task["next_run_at"]]
    assert 2 < max(pauses) <= 60, pauses
    assert (failed["status"], failed["attempt"], failed["result"]) == ("FAILURE", 6, None)
    assert "on purpose" in failed["error"]
    assert idle_shop.client.post(f"/tasks/{task_id}/retry").json()["status"] == "PENDING"
    with idle_shop.worker("lucky"):
        assert idle_shop.result(task_id)["rows"] == 100


@pytest.mark.parametrize("phase", ["writing", "read"])
def test_a_file_survives_the_death_of_its_worker(idle_shop: Shop, phase: str) -> None:
    name = f"killed-{phase}.csv"
    task_id = idle_shop.start("/process-csv", filename=name, num_rows=300_000)
    with idle_shop.worker("doomed") as doomed:
        eventually(
            lambda: (idle_shop.task(task_id)["progress"] or {}).get("message") or "",
            lambda message: message.startswith(phase),
            every=0.01,
        )
        doomed.kill()
    with idle_shop.worker("heir"):
        result = idle_shop.result(task_id, timeout=40)
    task = idle_shop.task(task_id)
    assert (result["rows"], result["stored"]) == (300_000, True)
    assert task["attempt"] == 2
    assert task["worker"].startswith("heir@")
