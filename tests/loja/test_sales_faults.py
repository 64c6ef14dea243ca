"""Sales jobs whose worker is killed, and whose attempts fail on purpose."""

from datetime import UTC, datetime

import pytest

from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.loja.shop import Shop


def hurry(shop: Shop, task_id: str) -> None:
    """Let the job's next attempt begin now."""
    with databases.connect(shop.environment["TRILHO_DATABASE_URL"]) as connection:
        statement = "UPDATE trilho.jobs SET run_at = clock_timestamp() WHERE id = %s AND state = 'RETRY'"
        connection.execute(statement.encode(), (task_id,))


def test_provoked_failures_are_retried_with_back_off_until_the_job_is_out_of_retries(idle_shop: Shop) -> None:
    task_id = idle_shop.start("/process-csv", filename="unlucky.csv", num_rows=100)
    with idle_shop.worker("unlucky", LOJA_FAILURE_RATE="1"):
        waiting = eventually(lambda: idle_shop.task(task_id), lambda task: task["status"] == "RETRY", every=0.01)
        assert "on purpose" in waiting["error"]
        assert (waiting["attempt"], waiting["max_attempts"]) == (1, 6)
        assert datetime.fromisoformat(waiting["next_run_at"]) > datetime.now(UTC).replace(year=2000)
        for _ in range(20):
            hurry(idle_shop, task_id)
            task = eventually(lambda: idle_shop.task(task_id), lambda task: task["status"] in {"RETRY", "FAILURE"})
            if task["status"] == "FAILURE":
                break
        failed = idle_shop.finished(task_id)
    assert (failed["status"], failed["attempt"]) == ("FAILURE", 6)
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
