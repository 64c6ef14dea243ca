"""Uploaded sales files, from the form to the stored sums."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.http.form import KIND, Line, file_form, part
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.proxy import FaultProxy
from tests.loja.shop import Shop, api, opened
from tests.loja.test_stream import server_of
from trilho.embedded import Valkey

HEADER = b"date,region,product,quantity,unit_price\n"
LIMIT = 20_000_000
MiB = 1 << 20


def row(year: int, quantity: int = 1) -> bytes:
    return f"{year}-05-01,norte,Livro,{quantity},10.00\n".encode()


@pytest.fixture(scope="module")
def idle_shop(
    postgres_server: str, template: str, own_broker: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A shop that takes small files only."""
    url = databases.create(postgres_server, template=template)
    folder = tmp_path_factory.mktemp("shop")
    with opened(folder, url, own_broker.url(), LOJA_MAX_UPLOAD=str(LIMIT)) as shop:
        yield shop
    databases.drop(url)


def send(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/uploads", files={"file": (name, content, "text/csv")})


def upload(shop: Shop, name: str, content: bytes) -> str:
    answer = send(shop.client, name, content)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def arriving(shop: Shop) -> list[Path]:
    return list((shop.files / "received").glob(".upload-*"))


def jobs_in(shop: Shop) -> int:
    return int(shop.query("SELECT count(*) FROM trilho.jobs")[0][0])


def shown(shop: Shop, name: str) -> bytes:
    return (shop.files / "uploads" / name).read_bytes()


@contextmanager
def other_api(shop: Shop, **environment: str) -> Iterator[httpx.Client]:
    """Another API process of the same shop, with other settings."""
    with api(shop.folder, {**shop.environment, **environment}) as client:
        yield client


def test_an_upload_answers_with_its_job_which_sums_the_real_file(shop: Shop) -> None:
    content = HEADER + row(2041, 2) + row(2041, 3) + b"2041-05-02,atlantida,Livro,1,10.00\n"
    answer = send(shop.client, "mine.csv", content)
    body = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, body["status_url"])
    assert body == {
        "task_id": body["task_id"],
        "status": "PENDING",
        "status_url": f"/tasks/{body['task_id']}",
        "filename": "mine.csv",
        "size": len(content),
    }
    result = shop.result(body["task_id"])
    assert (result["origin"], result["accepted"], result["rejected"]["count"], result["total"]) == (
        "uploaded",
        2,
        1,
        50.0,
    )
    assert shown(shop, "mine.csv") == content
    assert arriving(shop) == []


def test_process_csv_finds_the_uploaded_file_by_its_name(shop: Shop) -> None:
    upload(shop, "named é.csv", HEADER + row(2042))
    result = shop.result(shop.start("/process-csv", filename="named é.csv"))
    assert (result["origin"], result["accepted"]) == ("uploaded", 1)


TITLES, FIELDS = ("data", "região", "produto", "quantidade", "preço unitário"), ("01/04/2043", "Sul", "Pão", "2", "3")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_and_encoding_are_found_out(shop: Shop, delimiter: str, encoding: str) -> None:
    text = "".join(delimiter.join(line) + "\n" for line in (TITLES, FIELDS))
    result = shop.result(upload(shop, "found.csv", text.encode(encoding)))
    assert (result["delimiter"], result["encoding"], result["total"]) == (delimiter, encoding, 6.0)


def test_mixed_line_ends_are_line_ends(shop: Shop) -> None:
    lines = [row(2044).rstrip() + end for end in (b"\r\n", b"\n", b"\r", b"\r\n", b"")]
    result = shop.result(upload(shop, "ends.csv", HEADER.rstrip() + b"\r\n" + b"".join(lines)))
    assert (result["accepted"], result["rejected"]["count"]) == (5, 0)


def test_a_header_alone_fails_with_the_reason(shop: Shop) -> None:
    task = shop.finished(upload(shop, "header.csv", HEADER))
    assert (task["status"], task["attempt"]) == ("FAILURE", 1)
    assert "has a header but no rows" in task["error"]


def test_a_job_that_runs_again_reads_what_its_own_request_sent(shop: Shop) -> None:
    bad = upload(shop, "twice.csv", HEADER)
    assert shop.finished(bad)["status"] == "FAILURE"
    good = upload(shop, "twice.csv", HEADER + row(2045))
    assert shop.result(good)["stored"]
    assert shop.client.post(f"/tasks/{bad}/retry").status_code == 202
    assert "no rows" in shop.finished(bad)["error"]
    assert shown(shop, "twice.csv") == HEADER + row(2045)


def test_uploads_of_one_name_at_once_do_not_mix(shop: Shop) -> None:
    contents = [HEADER + row(2046) * (number + 1) for number in range(8)]
    with ThreadPoolExecutor(len(contents)) as pool:
        ids = list(pool.map(lambda content: upload(shop, "race.csv", content), contents))
    assert [shop.result(task_id)["accepted"] for task_id in ids] == list(range(1, 9))
    order = "SELECT id FROM trilho.jobs WHERE id = ANY(%s) ORDER BY created_at DESC LIMIT 1"
    newest = contents[ids.index(shop.query(order, ids)[0][0])]
    assert shown(shop, "race.csv") == newest
    assert shop.query("SELECT accepted FROM loja.sales_files WHERE name = 'race.csv'") == [(newest.count(b"\n") - 1,)]


NAMES = ["../up.csv", "/etc/passwd", "dir/x.csv", "a\x00.csv", "x" * 100, "x" * 10_000, "", "..", "a\nb", "a%0ab"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_name_is_422_and_leaves_nothing(idle_shop: Shop, name: str) -> None:
    before = jobs_in(idle_shop), sorted(idle_shop.folder.rglob("*"))
    answer = idle_shop.client.post("/uploads", content=file_form(HEADER, name), headers={"content-type": KIND})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:trilho:problem:invalid-request"), answer.text
    assert len(answer.text) < 1500
    after = [path for path in sorted(idle_shop.folder.rglob("*")) if path.name != "received"]
    assert (jobs_in(idle_shop), after) == (before[0], [path for path in before[1] if path.name != "received"])


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (file_form(b""), KIND, "file"),
        (part("other", HEADER, "a.csv"), KIND, "other"),
        (file_form(HEADER)[:-20], KIND, "body"),
        (HEADER, "text/csv", "body"),
        (b"", "application/json", "body"),
    ],
)
def test_a_bad_form_is_422_and_enqueues_nothing(idle_shop: Shop, body: bytes, kind: str, field: str) -> None:
    before = jobs_in(idle_shop)
    answer = idle_shop.client.post("/uploads", content=body, headers={"content-type": kind})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert jobs_in(idle_shop) == before
    assert arriving(idle_shop) == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_gigabyte_is_refused_with_a_reason_and_costs_no_memory_and_no_disk(idle_shop: Shop, announced: bool) -> None:
    first, chunk = part("file", b"", "big.csv")[:-2], b"x" * MiB
    size = {"content-length": str(len(first) + 1024 * MiB)} if announced else {}
    server = server_of(idle_shop.client)
    before = server.memory_info().rss

    def body() -> Iterator[bytes]:
        yield first
        for _ in range(1024):
            yield chunk

    answer = idle_shop.client.post("/uploads", content=body(), headers={"content-type": KIND, **size})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert server.memory_info().rss - before < 40 * MiB
    assert arriving(idle_shop) == []


def test_a_file_as_large_as_the_limit_is_taken_without_being_in_memory(idle_shop: Shop) -> None:
    server = server_of(idle_shop.client)
    before = server.memory_info().rss
    content = HEADER + row(2047) * ((LIMIT - len(HEADER)) // len(row(2047)))
    assert send(idle_shop.client, "large.csv", content + b"\n" * (LIMIT - len(content))).status_code == 202
    assert server.memory_info().rss - before < 15 * MiB
    assert send(idle_shop.client, "large.csv", b"x" * (LIMIT + 1)).status_code == 413


def test_a_client_that_goes_away_leaves_no_file_and_no_job(idle_shop: Shop) -> None:
    before = jobs_in(idle_shop)
    with half_sent(idle_shop.client, idle_shop):
        pass
    eventually(lambda: arriving(idle_shop), lambda left: not left)
    assert jobs_in(idle_shop) == before
    assert not (idle_shop.files / "uploads" / "half.csv").exists()


@contextmanager
def half_sent(client: httpx.Client, shop: Shop) -> Iterator[None]:
    body = file_form(HEADER + row(2048) * 100_000, "half.csv")
    with Line(client, "/uploads", {"Content-Type": KIND, "Content-Length": str(len(body))}) as line:
        line.send(body[: len(body) * 3 // 4])
        eventually(lambda: sum(path.stat().st_size for path in arriving(shop)), lambda size: size >= MiB)
        yield


def test_an_api_that_is_killed_during_an_upload_leaves_no_job_and_no_name(idle_shop: Shop) -> None:
    before = jobs_in(idle_shop)
    with other_api(idle_shop) as client, half_sent(client, idle_shop):
        server_of(client).kill()
    assert jobs_in(idle_shop) == before
    assert not (idle_shop.files / "uploads" / "half.csv").exists()
    [left] = arriving(idle_shop)
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    upload(idle_shop, "next.csv", HEADER + row(2048))
    assert arriving(idle_shop) == []


def refused() -> AbstractContextManager[object]:
    return pytest.raises(httpx.TransportError)


def test_an_api_that_is_killed_before_the_commit_leaves_the_former_file(idle_shop: Shop) -> None:
    upload(idle_shop, "former.csv", HEADER + row(2049))
    before = jobs_in(idle_shop)
    with other_api(idle_shop, TRILHO_FAULT="enqueue.before_commit=kill") as client, refused():
        send(client, "former.csv", HEADER + row(2049, 7))
    assert jobs_in(idle_shop) == before
    assert shown(idle_shop, "former.csv") == HEADER + row(2049)


def test_a_job_whose_api_was_killed_after_the_commit_finds_its_file_and_gives_it_its_name(idle_shop: Shop) -> None:
    upload(idle_shop, "late.csv", HEADER + row(2050))
    # The first commit is that of the question whether the API is up.
    with other_api(idle_shop, TRILHO_FAULT="enqueue.after_commit=kill@2") as client, refused():
        send(client, "late.csv", HEADER + row(2050, 7))
    assert shown(idle_shop, "late.csv") == HEADER + row(2050)
    [(newest,)] = idle_shop.query("SELECT id FROM trilho.jobs ORDER BY created_at DESC LIMIT 1")
    with idle_shop.worker("late"):
        assert idle_shop.result(newest)["total"] == 70.0
    assert shown(idle_shop, "late.csv") == HEADER + row(2050, 7)


def test_an_upload_that_cannot_be_enqueued_is_503_and_leaves_the_former_file(idle_shop: Shop) -> None:
    upload(idle_shop, "away.csv", HEADER + row(2051))
    database = idle_shop.environment["TRILHO_DATABASE_URL"]
    with FaultProxy(databases.port_of(database)) as proxy:
        url = databases.with_port(database, proxy.port)
        with other_api(idle_shop, TRILHO_DATABASE_URL=url, TRILHO_CONNECT_TIMEOUT="1") as client:
            proxy.set("refuse")
            proxy.cut()
            answer = send(client, "away.csv", HEADER + row(2051, 7))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert shown(idle_shop, "away.csv") == HEADER + row(2051)
            proxy.set("pass")
            eventually(lambda: send(client, "away.csv", HEADER + row(2051, 7)).status_code, lambda code: code == 202)
    assert shown(idle_shop, "away.csv") == HEADER + row(2051, 7)


def test_a_job_whose_file_is_gone_says_so_at_once(shop: Shop, idle_shop: Shop) -> None:
    task_id = upload(shop, "gone.csv", HEADER + row(2052))
    shop.result(task_id)
    (shop.files / "received" / f"{task_id}.csv").unlink()
    shop.query("UPDATE trilho.jobs SET state = 'FAILURE' WHERE id = %s", task_id)
    shop.client.post(f"/tasks/{task_id}/retry")
    task = shop.finished(task_id)
    assert task["status"] == "FAILURE"
    assert "must share this folder" in task["error"]
