"""Jobs as server-sent events."""

import asyncio
import json
import time
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from tests.http.conftest import Change, Client, Mount
from tests.http.sse import following
from tests.lab import database as databases
from tests.lab.proxy import FaultProxy
from trilho import Trilho
from trilho.http import stream
from trilho.http.hub import Document, Watched


def enqueue(app: Trilho) -> str:
    return str(app.send_task("shop.pack", ("book",)).id)


def test_the_first_event_is_the_document_of_the_job(app: Trilho, client: Client) -> None:
    job_id = enqueue(app)
    with following(client, job_id) as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in stream.response.headers["cache-control"]
        assert stream.response.headers["x-accel-buffering"] == "no"
        first, event = next(stream.blocks()), stream.next()
    assert 1000 <= int(first.fields["retry"]) <= 3000
    assert event.fields["event"] == "task"
    assert event.document == client.get(f"/tasks/{job_id}").json()


def test_every_change_is_an_event_until_the_end_closes_the_stream(app: Trilho, client: Client, change: Change) -> None:
    job_id = enqueue(app)
    with following(client, job_id) as stream:
        seen = [stream.next()]
        for columns in (
            {"state": "STARTED", "attempt": 1},
            {"state": "PROCESSING", "progress": '{"current": 1, "total": 2}'},
            {"state": "SUCCESS", "result": '{"rows": 2, "text": "a\\nb\\r\\u2028\\u0085"}'},
        ):
            change(job_id, **columns)
            seen.append(stream.next())
        assert stream.rest() == []
    assert [event.document["status"] for event in seen] == ["PENDING", "STARTED", "PROCESSING", "SUCCESS"]
    assert seen[2].document["progress"]["current"] == 1
    assert seen[3].document == client.get(f"/tasks/{job_id}").json()
    assert len({event.fields["id"] for event in seen}) == 4


def test_a_row_that_changes_without_its_document_is_no_event(
    app: Trilho, client: Client, change: Change, database: str
) -> None:
    job_id = enqueue(app)
    with following(client, job_id) as stream:
        stream.next()
        with databases.connect(database) as connection:
            connection.execute("UPDATE trilho.jobs SET sends = sends + 1 WHERE id = %s", (job_id,))
        time.sleep(0.7)  # longer than a look takes to come
        change(job_id, state="FAILURE", error="ValueError: no")
        assert [event.document["status"] for event in stream.rest()] == ["FAILURE"]


def test_a_client_that_comes_back_is_sent_only_what_it_has_not_seen(
    app: Trilho, client: Client, change: Change
) -> None:
    job_id = enqueue(app)
    with following(client, job_id) as stream:
        seen = stream.next().fields["id"]
    with following(client, job_id, seen) as stream:
        change(job_id, state="STARTED", attempt=1)
        assert stream.next().document["status"] == "STARTED"
    change(job_id, state="SUCCESS")
    with following(client, job_id, seen) as stream:
        last = stream.rest()
    assert [event.document["status"] for event in last] == ["SUCCESS"]
    headers = {"last-event-id": last[0].fields["id"]}
    assert client.get(f"/tasks/{job_id}/stream", headers=headers).status_code == 204
    assert client.get(f"/tasks/{job_id}/stream", headers={"last-event-id": "whatever é".encode()}).status_code == 200


def test_a_job_that_runs_again_is_followed_again(app: Trilho, client: Client, change: Change) -> None:
    job_id = enqueue(app)
    change(job_id, state="FAILURE", error="ValueError: no")
    with following(client, job_id) as stream:
        last = stream.rest()[-1].fields["id"]
    client.post(f"/tasks/{job_id}/retry")
    with following(client, job_id, last) as stream:
        assert stream.next().document["status"] == "PENDING"


@pytest.mark.parametrize("task_id", ["nobody", "a%00b", "x" * 256, "%F0%90%80%80", "%20"])
def test_the_stream_of_an_unknown_job_is_404(client: Client, task_id: str) -> None:
    answer = client.get(f"/tasks/{task_id}/stream")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:trilho:problem:unknown-job")


def test_a_job_that_is_deleted_ends_its_stream(app: Trilho, client: Client, database: str) -> None:
    job_id = enqueue(app)
    with following(client, job_id) as stream:
        stream.next()
        with databases.connect(database) as connection:
            connection.execute("DELETE FROM trilho.jobs WHERE id = %s", (job_id,))
        assert stream.rest() == []


def test_a_silent_stream_has_heartbeats(app: Trilho, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    with following(client, enqueue(app)) as open_stream:
        open_stream.next()
        blocks = open_stream.blocks()
        assert [next(blocks).fields for _ in range(3)] == [{"": "ping"}] * 3


def test_a_slow_reader_gets_the_newest_document_only() -> None:
    async def read() -> list[bytes]:
        watched = Watched()
        watched.show(Document("1", "first", finished=False))
        reader = stream.events(watched, None)
        seen = [await anext(reader), await anext(reader)]
        for number in range(2, 1000):
            watched.show(Document(str(number), f"document {number}", finished=number == 999))
        return seen[1:] + [text async for text in reader]

    assert asyncio.run(read()) == [
        b"event: task\ndata: first\nid: 1\n\n",
        b"event: task\ndata: document 999\nid: 999\n\n",
    ]


def test_streams_outlive_an_outage_of_the_database(
    app: Trilho, mount: Mount, valkey: str, database: str, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.2)
    monkeypatch.setenv("TRILHO_CONNECT_TIMEOUT", "1")
    job_id = enqueue(app)
    with FaultProxy(databases.port_of(database)) as proxy, closing(behind(proxy, valkey, database)) as cut_off:
        client = mount(cut_off)
        with following(client, job_id) as open_stream:
            open_stream.next()
            proxy.set("refuse")
            proxy.cut()
            other = httpx.get(client.base_url.join(f"/tasks/{job_id}/stream"), timeout=20)
            assert (other.status_code, other.headers["retry-after"]) == (503, "2")
            blocks = open_stream.blocks()
            assert next(blocks).fields == {"": "ping"}
            change(job_id, state="SUCCESS")
            proxy.set("pass")
            assert [event.document["status"] for event in open_stream.rest()] == ["SUCCESS"]


def behind(proxy: FaultProxy, broker: str, database: str) -> Trilho:
    return Trilho("shop", broker=broker, database=databases.with_port(database, proxy.port))


CLIENTS = 100
JOBS = 20


async def last_event(port: int, job_id: str, opened: asyncio.Semaphore) -> tuple[dict[str, object], float]:
    """The last document on a stream, and when it came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /tasks/{job_id}/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    document: dict[str, object] = {}
    came = 0.0
    while line := await reader.readline():
        if line.startswith(b"data: "):
            document, came = json.loads(line[6:]), time.monotonic()
            if document["status"] == "PENDING":
                opened.release()
    writer.close()
    return document, came


def test_a_hundred_streams_need_one_look_at_a_time_and_see_the_end_at_once(
    app: Trilho, client: Client, change: Change, database: str
) -> None:
    jobs = [enqueue(app) for _ in range(JOBS)]
    port = urlsplit(str(client.base_url)).port
    assert port is not None

    async def follow_all() -> tuple[list[tuple[dict[str, object], float]], float, int]:
        opened = asyncio.Semaphore(0)
        streams = [asyncio.create_task(last_event(port, jobs[n % JOBS], opened)) for n in range(CLIENTS)]
        for _ in range(CLIENTS):
            await asyncio.wait_for(opened.acquire(), 20)
        connections = connections_to(database)
        for job_id in jobs:
            change(job_id, state="SUCCESS", result="7")
        finished = time.monotonic()
        return await asyncio.wait_for(asyncio.gather(*streams), 20), finished, connections

    ends, finished, connections = asyncio.run(follow_all())
    assert [document["status"] for document, _ in ends] == ["SUCCESS"] * CLIENTS
    assert max(came for _, came in ends) - finished < 2
    assert connections <= 3, "one to enqueue or look, one to listen; and the one that counts"


def connections_to(database: str) -> int:
    with databases.connect(database) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
