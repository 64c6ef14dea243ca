"""What the sales routes accept, refuse and answer; nobody works on the jobs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.loja.shop import Shop
from trilho.embedded import Valkey


def jobs_in(shop: Shop) -> int:
    return int(shop.query("SELECT count(*) FROM trilho.jobs")[0][0])


def test_process_csv_answers_with_where_to_look(idle_shop: Shop) -> None:
    answer = idle_shop.client.post("/process-csv?filename=vendas.csv&num_rows=50000")
    body = answer.json()
    assert answer.status_code == 202
    assert body == {
        "task_id": body["task_id"],
        "status": "PENDING",
        "status_url": f"/tasks/{body['task_id']}",
        "filename": "vendas.csv",
        "num_rows": 50000,
    }
    assert answer.headers["location"] == body["status_url"]
    shown = idle_shop.client.get(answer.headers["location"]).json()
    assert (shown["status"], shown["name"]) == ("PENDING", "loja.sales.tasks.process_csv")
    assert shown["max_attempts"] == 6


def test_num_rows_may_be_left_out(idle_shop: Shop) -> None:
    assert idle_shop.client.post("/process-csv?filename=test_1.csv").json()["num_rows"] == 10_000


def test_aggregate_answers_with_what_it_understood(idle_shop: Shop) -> None:
    body = idle_shop.client.post("/aggregate?region=sudeste&month=2025-01").json()
    assert (body["status"], body["region"], body["month"]) == ("PENDING", "sudeste", "2025-01")


BAD_NAMES = ["../vendas.csv", "/etc/passwd", "", "x" * 10_000, "a\x00.csv", "..", "dir/vendas.csv", "a\nb"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_file_name_is_422_and_enqueues_nothing(idle_shop: Shop, name: str) -> None:
    before = jobs_in(idle_shop)
    answer = idle_shop.client.post("/process-csv", params={"filename": name})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == ["filename"]
    assert answer.json()["errors"][0]["message"].startswith("must ")
    assert jobs_in(idle_shop) == before
    assert len(answer.text) < 1000


@pytest.mark.parametrize("num_rows", ["-1", "0", "1000000000", "many", "1.5", "", "9" * 5000, "NaN"])
def test_a_bad_number_of_rows_is_422_and_enqueues_nothing(idle_shop: Shop, num_rows: str) -> None:
    before = jobs_in(idle_shop)
    answer = idle_shop.client.post("/process-csv", params={"filename": "vendas.csv", "num_rows": num_rows})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["num_rows"]
    assert jobs_in(idle_shop) == before
    assert len(answer.text) < 1000


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"region": "atlantida", "month": "2025-01"}, "region"),
        ({"region": "", "month": "2025-01"}, "region"),
        ({"month": "2025-01"}, "region"),
        ({"region": "sul", "month": "2025-13"}, "month"),
        ({"region": "sul", "month": "2025-1"}, "month"),
        ({"region": "sul", "month": "٢٠٢٥-01"}, "month"),
        ({"region": "sul", "month": "2025-01\n"}, "month"),
        ({"region": "sul"}, "month"),
    ],
)
def test_a_region_or_month_that_does_not_exist_is_422(idle_shop: Shop, params: dict[str, str], field: str) -> None:
    answer = idle_shop.client.post("/aggregate", params=params)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@contextmanager
def frozen(server: Valkey) -> Iterator[None]:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def stopped(server: Valkey) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@pytest.mark.parametrize("away", [frozen, stopped])
def test_a_broker_that_is_away_makes_no_request_wait(idle_shop: Shop, own_broker: Valkey, away: type) -> None:
    idle_shop.start("/process-csv", filename="warm.csv")
    took = []
    with away(own_broker):
        for number in range(20):
            begin = time.perf_counter()
            idle_shop.start("/process-csv", filename=f"file_{number}.csv")
            idle_shop.start("/aggregate", region="sul", month="2025-01")
            took.append((time.perf_counter() - begin) / 2)
    assert sorted(took)[len(took) // 2] < 0.1, took
    assert max(took) < 0.5, took  # one slow turn of a loaded machine, not a wait for the broker


def test_the_index_is_a_page_for_browsers_and_json_for_others(idle_shop: Shop) -> None:
    page = idle_shop.client.get("/", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "process-csv?filename=vendas.csv" in page.text
    body = idle_shop.client.get("/").json()
    assert body["documentation"].endswith("/docs")
    assert all(step["command"].startswith("curl ") for step in body["try_this"])


def test_the_documentation_page_opens(idle_shop: Shop) -> None:
    assert "swagger" in idle_shop.client.get("/docs").text
