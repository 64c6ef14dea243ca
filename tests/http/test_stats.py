"""Queue statistics and health."""

import time

import psycopg
import pytest

from tests.http.conftest import Client, Mount
from trilho import Trilho


def test_health_is_ok_while_the_database_answers(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_stats_of_a_stack_without_workers_have_all_parts(client: Client) -> None:
    answer = client.get("/queue/stats")
    assert answer.status_code == 200
    assert answer.json()["workers"] == []
    assert answer.json()["failures"]["last_hour"] == 0
    assert isinstance(answer.json()["queues"], list)


JOBS = """
INSERT INTO trilho.jobs (id, task, queue, state, finished_at)
SELECT 'job-' || n, 'shop.pack', 'celery', 'SUCCESS', clock_timestamp() FROM generate_series(1, 200000) AS n
"""


def test_stats_answer_quickly_over_many_jobs(client: Client, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(JOBS)
    client.get("/queue/stats")
    begin = time.perf_counter()
    assert client.get("/queue/stats").status_code == 200
    assert time.perf_counter() - begin < 0.1


def test_without_a_database_every_answer_is_503_with_retry_after(
    monkeypatch: pytest.MonkeyPatch, mount: Mount, valkey: str
) -> None:
    monkeypatch.setenv("TRILHO_CONNECT_TIMEOUT", "0.5")
    app = Trilho("shop", broker=valkey, database="postgresql://nobody:secret@127.0.0.1:1/none")
    client = mount(app)
    for method, path in (("GET", "/healthz"), ("GET", "/tasks/x"), ("GET", "/queue/stats"), ("POST", "/pack")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), path
        assert answer.json()["type"] == "urn:trilho:problem:database-away"
        assert "secret" not in answer.text
        assert "127.0.0.1" not in answer.text
    app.close()


def test_without_settings_the_answer_names_the_variable(mount: Mount) -> None:
    app = Trilho("shop")
    answer = mount(app).get("/tasks/x")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:trilho:problem:not-configured")
    assert "TRILHO_DATABASE_URL" in answer.json()["detail"]
    app.close()
