"""`GET /trilho/op/{id}`: one operation as JSON and as a page, from what requests, jobs and events left behind."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from tests.http.server import served
from tests.lab import database as databases
from trilho import Trilho, trace
from trilho.http import install
from trilho.trace import Trace

Json = dict[str, Any]
Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def url(postgres_server: str, template: str) -> Iterator[str]:
    """One database for all tests of the module: ids tell their operations apart."""
    url = databases.create(postgres_server, template=template)
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def app(url: str) -> Iterator[Trilho]:
    app = Trilho("shop", broker="memory://", database=url)
    yield app
    app.close()
    app.database.close()


@pytest.fixture
def query(url: str) -> Query:
    def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with databases.connect(url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def key() -> str:
    """The id of an order."""
    return f"order-{uuid4().hex}"


@pytest.fixture(scope="module")
def shop(app: Trilho) -> Iterator[httpx.Client]:
    """An API that enqueues, publishes, fails and does nothing."""
    api = FastAPI()
    install(api, app)

    @api.post("/pack")
    def pack(name: str = "shop.pack") -> str:
        return str(app.send_task(name, args=["4111111111111111"]).id)

    @api.post("/order/{order_id}")
    def order(order_id: str) -> str:
        with app.transaction():
            app.send_task("shop.pack")
            return app.bus.publish("order.created", {"order": order_id}, key=order_id).id

    @api.post("/undone")
    def undone() -> None:
        with app.transaction() as tx:
            app.send_task("shop.pack")
            tx.flush()
            raise ValueError

    @api.get("/nothing")
    def nothing() -> None: ...

    with served(api) as client:
        yield client


def entries(client: httpx.Client, wanted: str) -> list[tuple[int, str, str, str]]:
    answer = client.get(f"/trilho/op/{wanted}")
    assert answer.status_code == 200, answer.text
    return [(e["depth"], e["kind"], e["name"], e["state"]) for e in answer.json()["entries"]]


def test_a_request_and_what_it_brought_about_are_one_operation(shop: httpx.Client, key: str) -> None:
    answer = shop.post(f"/order/{key}")
    correlation = answer.headers["x-correlation-id"]
    seen = entries(shop, correlation)
    assert seen[0] == (0, "request", f"POST /order/{key}", "200")
    assert sorted(seen[1:]) == [(1, "event", "order.created", "published"), (1, "job", "shop.pack", "PENDING")]
    operation = shop.get(f"/trilho/op/{correlation}").json()
    assert (operation["state"], operation["live"]) == ("running", True)


@pytest.mark.parametrize("which", ["event", "order"])
def test_an_operation_is_found_by_the_id_of_an_event_and_by_its_key(shop: httpx.Client, key: str, which: str) -> None:
    answer = shop.post(f"/order/{key}")
    wanted = answer.json() if which == "event" else key
    assert entries(shop, wanted) == entries(shop, answer.headers["x-correlation-id"])
    assert shop.get(f"/trilho/op/{wanted}").json()["operations"] == [answer.headers["x-correlation-id"]]


def test_an_operation_is_found_by_the_id_of_a_job(shop: httpx.Client) -> None:
    answer = shop.post("/pack")
    assert entries(shop, answer.json())[0][1] == "request"


def test_a_key_of_several_operations_shows_them_all(shop: httpx.Client, key: str) -> None:
    answers = [shop.post(f"/order/{key}") for _ in range(3)]
    operation = shop.get(f"/trilho/op/{key}").json()
    assert operation["operations"] == [answer.headers["x-correlation-id"] for answer in reversed(answers)]
    assert [entry["kind"] for entry in operation["entries"]].count("request") == 3


def test_a_job_that_nobody_asked_for_by_http_is_an_operation_of_its_own(app: Trilho, shop: httpx.Client) -> None:
    job_id = app.send_task("shop.pack", task_id="a/b c").id
    assert entries(shop, "a%2Fb%20c") == [(0, "job", "shop.pack", "PENDING")]
    assert shop.get("/trilho/op/a%2Fb%20c").json()["operations"] == [job_id]


def test_an_answer_links_to_its_timeline(app: Trilho, shop: httpx.Client) -> None:
    job_id = app.send_task("shop.pack").id
    answer = shop.get(f"/tasks/{job_id}")
    url = answer.links["related"]["url"]
    assert url == f"/trilho/op/{job_id}"
    assert shop.get(url).status_code == 200


@pytest.mark.parametrize("call", [("GET", "/nothing"), ("POST", "/undone"), ("GET", "/healthz"), ("GET", "/gone")])
def test_requests_that_bring_nothing_about_leave_nothing(
    shop: httpx.Client, query: Query, call: tuple[str, str]
) -> None:
    correlation = shop.request(*call).headers["x-correlation-id"]
    assert query("SELECT * FROM trilho.timeline WHERE operation = %s", correlation) == []


# ---- ids that the caller brings

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["X-Request-ID"], "X-Request-ID"),
        (["X-Correlation-ID", "X-Request-ID"], "X-Correlation-ID"),
        (["traceparent"], "traceparent"),
        (["X-Request-ID", "traceparent"], "X-Request-ID"),
    ],
)
def test_the_callers_id_names_the_operation(shop: httpx.Client, key: str, names: list[str], expected: str) -> None:
    ids = {name: uuid4().hex for name in names}
    headers = {
        name: f"00-{known}-00f067aa0ba902b7-01" if name == "traceparent" else known for name, known in ids.items()
    }
    answer = shop.post(f"/order/{key}", headers=headers)
    assert answer.headers["x-correlation-id"] == ids[expected]
    assert len(entries(shop, ids[expected])) == 3
    [event] = [e for e in shop.get(f"/trilho/op/{ids[expected]}").json()["entries"] if e["kind"] == "event"]
    assert event["facts"]["key"] == key


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Request-ID": "x" * 129},
        {"X-Request-ID": "<script>"},
        {"X-Request-ID": ""},
        {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"},
        {"traceparent": "nonsense"},
    ],
)
def test_an_id_that_cannot_be_used_is_replaced(shop: httpx.Client, headers: dict[str, str]) -> None:
    answer = shop.post("/pack", headers=headers)
    assert answer.headers["x-correlation-id"] not in headers.values()
    assert len(answer.headers["x-correlation-id"]) == 36


def test_an_event_keeps_the_operation_and_the_trace_of_its_request(shop: httpx.Client, query: Query, key: str) -> None:
    event = shop.post(f"/order/{key}", headers={"X-Request-ID": key, "traceparent": TRACEPARENT}).json()
    [(attributes,)] = query("SELECT attributes::json FROM trilho.outbox WHERE id = %s", event)
    assert (attributes["correlation_id"], attributes["traceparent"]) == (key, TRACEPARENT)
    [job] = [entry for entry in shop.get(f"/trilho/op/{key}").json()["entries"] if entry["kind"] == "job"]
    [(headers,)] = query("SELECT headers::json FROM trilho.jobs WHERE id = %s", job["id"])
    assert headers["trilho_trace"] == {"correlation_id": key, "traceparent": TRACEPARENT}


# ---- what cannot be shown

UNKNOWN = ["nobody", "x" * 300, "%00", "a/b", "..%2F..", "%ED%A0%80"]


@pytest.mark.parametrize("wanted", UNKNOWN)
def test_an_unknown_id_is_a_problem(shop: httpx.Client, wanted: str) -> None:
    answer = shop.get(f"/trilho/op/{wanted}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), answer.text
    assert "nothing is known of" in answer.json()["detail"]


@pytest.mark.parametrize("wanted", [*UNKNOWN, "<script>alert(1)<%2Fscript>"])
def test_an_unknown_id_is_a_page_for_browsers(shop: httpx.Client, wanted: str) -> None:
    answer = shop.get(f"/trilho/op/{wanted}", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "No such operation" in answer.text
    assert "<script>alert" not in answer.text


def test_the_format_can_be_asked_for_in_the_url(shop: httpx.Client) -> None:
    wanted = shop.post("/pack").json()
    html = {"Accept": "text/html"}
    assert shop.get(f"/trilho/op/{wanted}?format=json", headers=html).json()["id"] == wanted
    assert shop.get(f"/trilho/op/{wanted}?format=html").text.startswith("<!doctype html>")
    assert shop.get(f"/trilho/op/{wanted}?format=pdf").status_code == 422


def test_names_from_outside_are_escaped(shop: httpx.Client, query: Query) -> None:
    evil = "<script>alert('x')</script>"
    wanted = shop.post("/pack", params={"name": evil}).json()
    query(
        "UPDATE trilho.jobs SET error = %s, worker_name = %s, progress = %s WHERE id = %s",
        *(evil, evil, f'{{"message": "{evil}"}}', wanted),
    )
    page = shop.get(f"/trilho/op/{wanted}?format=html")
    assert page.status_code == 200
    assert page.text.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") >= 3
    assert "<script>alert" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_arguments_stay_inside_and_secrets_are_masked(shop: httpx.Client, query: Query) -> None:
    wanted = shop.post("/pack").json()
    result = '{"card": "4111111111111111", "url": "amqp://user:hunter2@host/", "text": "' + "x" * 1000 + '"}'
    query(
        "UPDATE trilho.jobs SET state = 'SUCCESS', finished_at = clock_timestamp(), attempt = 1, "
        "started_at = created_at, result = %s WHERE id = %s",
        *(result, wanted),
    )
    for form in ("html", "json"):
        text = shop.get(f"/trilho/op/{wanted}?format={form}").text
        assert "4111111111111111" not in text
        assert "hunter2" not in text
        assert "xxx…" in text


def test_the_page_needs_the_api_key_like_everything_else(url: str) -> None:
    app = Trilho("shop", broker="memory://", database=url)
    app.__dict__["settings"] = app.settings.model_copy(update={"api_key": "s3cret"})
    api = FastAPI()
    install(api, app)
    with served(api) as client:
        assert client.get("/trilho/op/x").status_code == 401
        assert client.get("/trilho/op/x", headers={"X-API-Key": "s3cret"}).status_code == 404
    app.close()


def test_static_files_have_their_types_and_others_are_not_there(shop: httpx.Client) -> None:
    assert shop.get("/trilho/static/timeline.css").headers["content-type"].startswith("text/css")
    assert shop.get("/trilho/static/timeline.js").headers["content-type"].startswith("text/javascript")
    for name in ("page.html", "..%2Fpage.py", "%2e%2e%2f__init__.py"):
        assert shop.get(f"/trilho/static/{name}").status_code == 404


def test_ten_thousand_jobs_are_a_page_with_a_clear_note(
    app: Trilho, shop: httpx.Client, query: Query, key: str
) -> None:
    with trace.entered(Trace(key, key)):
        app.send_task("shop.pack")
    query(
        "INSERT INTO trilho.jobs (id, task, queue) SELECT %s || n, 'shop.pack', 'none' FROM generate_series(1, 9999) n",
        key,
    )
    query(
        "INSERT INTO trilho.timeline (operation, kind, id, name) "
        "SELECT %s, 'job', %s || n, 'shop.pack' FROM generate_series(1, 9999) n",
        *(key, key),
    )
    operation = shop.get(f"/trilho/op/{key}").json()
    assert (operation["shown"], operation["total"], operation["job_states"]) == (1000, 10_000, {"PENDING": 10_000})
    page = shop.get(f"/trilho/op/{key}?format=html").text
    assert "The first 1,000 of 10,000 notes are shown." in page
    assert "10,000 PENDING" in page


def test_the_saga_of_an_operation_is_shown_with_steps_and_undos(shop: httpx.Client, query: Query, key: str) -> None:
    query(
        "INSERT INTO trilho.sagas (id, name, version, state, queue, args, verdict, error, correlation_id, "
        "listens_from, finished_at) VALUES (%s, 'place_order', 1, 'COMPENSATED', 'celery', '{}', 'failed', "
        "'Declined: no', %s, clock_timestamp(), clock_timestamp())",
        *(key, f"c-{key}"),
    )
    for path, kind, name, state in (
        ("1", "step", "create_order", "DONE"),
        ("2", "step", "charge", "FAILED"),
        ("1:undo", "undo", "cancel_order", "DONE"),
        ("0", "now", "", "DONE"),
    ):
        query(
            "INSERT INTO trilho.saga_steps (saga_id, path, kind, name, state, ended_at) "
            "VALUES (%s, %s, %s, %s, %s, clock_timestamp())",
            *(key, path, kind, name, state),
        )
    assert [entry for entry in entries(shop, key) if entry[1] != "job"] == [
        (0, "saga", "place_order", "COMPENSATED"),
        (1, "step", "create_order", "DONE"),
        (1, "step", "charge", "FAILED"),
        (1, "undo", "cancel_order", "DONE"),
    ]
    assert shop.get(f"/trilho/op/{key}").json()["state"] == "undone"
