"""Sales jobs on a real worker, from request to stored sums."""

import csv
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from tests.lab.poll import eventually
from tests.loja.shop import Shop

HEADER = "date,region,product,quantity,unit_price\n"


def sums_of(path: Path) -> tuple[dict[str, Decimal], dict[str, Decimal], int]:
    """Sums by region and by month, and the number of bad rows, worked out in the plainest way."""
    regions: dict[str, Decimal] = defaultdict(Decimal)
    months: dict[str, Decimal] = defaultdict(Decimal)
    bad = 0
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            try:
                amount = int(row["quantity"]) * Decimal(row["unit_price"])
                good = amount > 0 and row["product"] and row["region"] != "atlantida"
                good = good and row["date"] not in {"2025-02-30", "31.12"}
            except (ArithmeticError, ValueError, TypeError):
                good = False
            if good:
                regions[row["region"]] += amount
                months[row["date"][:7]] += amount
            else:
                bad += 1
    return regions, months, bad


def test_a_generated_file_is_really_summed(shop: Shop) -> None:
    result = shop.result(shop.start("/process-csv", filename="vendas.csv", num_rows=20_000))
    regions, months, bad = sums_of(shop.files / "generated" / "vendas.csv")
    assert (result["origin"], result["rows"], result["rejected"]["count"]) == ("generated", 20_000, bad)
    assert result["accepted"] == 20_000 - bad
    assert {name: Decimal(str(group["total"])) for name, group in result["by_region"].items()} == regions
    assert {name: Decimal(str(group["total"])) for name, group in result["by_month"].items()} == months
    assert Decimal(str(result["total"])) == sum(regions.values())
    assert sum(result["rejected"]["reasons"].values()) == bad


def test_aggregate_answers_from_all_processed_files(shop: Shop) -> None:
    shop.upload("a.csv", (HEADER + "2031-05-01,norte,Livro,2,10.00\n2031-05-02,norte,Pão,1,5.50\n").encode())
    shop.upload("b.csv", (HEADER + "2031-05-03,norte,Livro,1,10.00\n2031-06-03,norte,Livro,9,10.00\n").encode())
    for name in ("a.csv", "b.csv"):
        assert shop.result(shop.start("/process-csv", filename=name))["origin"] == "uploaded"
    result = shop.result(shop.start("/aggregate", region="norte", month="2031-05"))
    assert result == {
        "region": "norte",
        "month": "2031-05",
        "files": 2,
        "count": 3,
        "quantity": 4,
        "total": 35.5,
        "mean_ticket": 11.83,
        "top_products": [
            {"product": "Livro", "sales": 2, "quantity": 3, "total": 30.0},
            {"product": "Pão", "sales": 1, "quantity": 1, "total": 5.5},
        ],
    }


def test_a_month_without_data_has_zero_rows(shop: Shop) -> None:
    result = shop.result(shop.start("/aggregate", region="sul", month="1999-01"))
    assert (result["count"], result["total"], result["mean_ticket"], result["top_products"]) == (0, 0, None, [])


def test_another_number_of_rows_writes_the_file_anew_and_replaces_its_data(shop: Shop) -> None:
    for num_rows in (3000, 1000):
        result = shop.result(shop.start("/process-csv", filename="again.csv", num_rows=num_rows))
        assert (result["rows"], result["stored"]) == (num_rows, True)
    assert (shop.files / "generated" / "again.csv").read_bytes().count(b"\n") == 1001


def test_jobs_of_one_name_at_once_leave_the_newest_data(shop: Shop) -> None:
    ids = [shop.start("/process-csv", filename="race.csv", num_rows=1000 + number) for number in range(6)]
    results = [shop.result(task_id) for task_id in ids]
    assert [result["rows"] for result in results] == [1000 + number for number in range(6)]
    assert results[-1]["stored"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("empty.csv", b"", "is empty"),
        ("header.csv", HEADER.encode(), "has a header but no rows"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 50, "is not a sales CSV"),
        ("words.csv", b"Dear Sir,\nno sales this year\n", "is not a sales CSV"),
        ("allbad.csv", (HEADER + "2025-01-01,atlantida,Livro,1,1\n").encode(), "none of the 1 rows"),
        ("endless.csv", HEADER.encode() + b"x" * 200_000, "is longer than"),
    ],
)
def test_a_file_that_cannot_be_used_fails_at_once(shop: Shop, name: str, content: bytes, error: str) -> None:
    shop.upload(name, content)
    task = shop.finished(shop.start("/process-csv", filename=name))
    assert (task["status"], task["attempt"], task["result"]) == ("FAILURE", 1, None)
    assert error in task["error"]
    assert name in task["error"]


def test_a_failed_job_succeeds_when_it_is_run_again_on_a_good_file(shop: Shop) -> None:
    shop.upload("mended.csv", b"")
    task_id = shop.start("/process-csv", filename="mended.csv")
    assert shop.finished(task_id)["status"] == "FAILURE"
    shop.upload("mended.csv", (HEADER + "2032-01-01,sul,Livro,1,1\n").encode())
    assert shop.client.post(f"/tasks/{task_id}/retry").status_code == 202
    assert shop.result(task_id)["accepted"] == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_brazilian_files_are_understood(shop: Shop, encoding: str) -> None:
    content = "data;região;produto;quantidade;preço unitário\n01/04/2033;Centro-Oeste;Pão;2;1.003,50\n"
    shop.upload(f"br-{encoding}.csv", content.encode(encoding))
    result = shop.result(shop.start("/process-csv", filename=f"br-{encoding}.csv"))
    assert (result["delimiter"], result["encoding"]) == (";", encoding)
    assert result["by_region"] == {"centro-oeste": {"sales": 1, "quantity": 2, "total": 2007.0}}


def test_progress_is_seen_on_the_way(shop: Shop) -> None:
    task_id = shop.start("/process-csv", filename="long.csv", num_rows=400_000)
    task = eventually(lambda: shop.task(task_id), lambda task: (task["progress"] or {}).get("percent"), every=0.02)
    assert task["status"] == "PROCESSING"
    assert 0 < task["progress"]["current"] <= task["progress"]["total"] == 400_000
    assert "of 400,000 rows of long.csv" in task["progress"]["message"]
    assert shop.result(task_id)["rows"] == 400_000


def test_a_running_job_can_be_cancelled_and_leaves_no_data(shop: Shop) -> None:
    task_id = shop.start("/process-csv", filename="cancelled.csv", num_rows=1_000_000)
    eventually(lambda: shop.task(task_id)["status"], lambda status: status == "PROCESSING")
    assert shop.client.delete(f"/tasks/{task_id}").status_code == 200
    assert shop.finished(task_id)["status"] == "REVOKED"
    assert shop.query("SELECT count(*) FROM loja.sales_files WHERE name = 'cancelled.csv'") == [(0,)]


def test_stats_show_the_worker_and_its_queue(shop: Shop) -> None:
    shop.result(shop.start("/aggregate", region="sul", month="1999-01"))
    stats = eventually(
        lambda: shop.client.get("/queue/stats").json(),
        lambda stats: stats["queues"] and stats["workers"][0]["processed"],  # of the last sample, the last heartbeat
    )
    worker = stats["workers"][0]
    assert worker["name"].startswith("worker@")
    assert (worker["pool"], worker["concurrency"], worker["state"]) == ("prefork", 2, "running")
    assert stats["queues"][0]["name"] == "celery"
    assert set(stats["failures"]) >= {"last_hour"}
