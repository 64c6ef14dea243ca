"""Flower, a real one, beside a real worker: what it shows is what the rows say, and its buttons do what they say."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from tests.worker.watching import APP, Watch, watching
from trilho import Result
from trilho.embedded import leash
from trilho.embedded.ports import HOST, free_port

pytest.importorskip("flower", reason='pip install "trilho[flower]"')
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Flower:
    """Flower's HTTP API, and the stand beside it."""

    watch: Watch
    http: httpx.Client

    @property
    def worker(self) -> str:
        """The worker's name."""
        [name] = [worker.name for worker in self.watch.app.jobs.stats().workers]
        return name

    def task(self, result: Result[object]) -> Mapping[str, Any]:
        """What it knows of a task."""
        return dict(self.http.get("/api/tasks").json().get(result.id, {}))

    def shows(self, result: Result[object], state: str) -> Mapping[str, Any]:
        """The task, once it has this state, as the row has."""
        seen = eventually(lambda: self.task(result), lambda task: task.get("state") == state)
        # A process accepts a job, and says so, a moment before it has claimed the row.
        eventually(lambda: self.watch.job(result).state, lambda found: found == state)
        return seen

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Press a button."""
        return self.http.post(f"/api/{path}", **options)

    def page(self, path: str) -> str:
        """A page for people."""
        answer = self.http.get(path)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="module")
def flower(postgres_server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    folder = tmp_path_factory.mktemp("flower")
    port = free_port()
    program = [sys.executable, "-m", "celery", "-A", APP, "flower", f"--port={port}", f"--address={HOST}"]
    with watching(postgres_server, template, folder) as watch, (folder / "log").open("wb") as log:
        environment = os.environ | watch.environment | {"FLOWER_UNAUTHENTICATED_API": "1"}
        command = leash.command(os.getpid(), 9, -1, -1, program)
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=20) as http:
                yield _listening(Flower(watch, http))
        finally:
            process.terminate()
            process.wait()


def _listening(flower: Flower) -> Flower:
    """Flower asks for events by itself, every five seconds: nothing else has turned them on."""

    def seen() -> bool:
        result = flower.watch.send("add", 1, 1)
        flower.watch.state(result, "SUCCESS")
        return bool(flower.task(result))

    eventually(seen, timeout=40, every=0.3, ignoring=(httpx.TransportError,))
    eventually(lambda: flower.http.get("/api/workers", params={"refresh": "1"}).json())
    return flower


def test_success_is_shown_with_arguments_result_and_runtime(flower: Flower) -> None:
    seen = flower.shows(flower.watch.send("echo", "hello", kwargs={"seconds": 0.2}), "SUCCESS")
    assert (seen["name"], seen["args"], seen["kwargs"]) == ("watched.echo", "('hello',)", "{'seconds': 0.2}")
    assert (seen["result"], seen["worker"], seen["expires"]) == ("'hello'", flower.worker, None)
    assert 0.2 <= seen["runtime"] < 2
    assert seen["received"] <= seen["started"] <= seen["succeeded"]


def test_failure_is_shown_with_its_traceback(flower: Flower) -> None:
    seen = flower.shows(flower.watch.send("fails"), "FAILURE")
    assert seen["exception"] == "ValueError('on purpose')"
    assert "in fails" in seen["traceback"]


def test_retry_is_shown_until_the_next_attempt_has_ended(flower: Flower) -> None:
    result = flower.watch.send("again", 1, 600)
    assert flower.shows(result, "RETRY")["exception"] == "ValueError('not yet')"
    result.revoke()
    done = flower.shows(flower.watch.send("again"), "SUCCESS")
    assert (done["retries"], done["result"]) == (1, "1")


@pytest.mark.parametrize("crashes", [0, 1])
def test_crash_is_shown_as_what_became_of_the_job(flower: Flower, crashes: int) -> None:
    result = flower.watch.send("dies", max_crashes=crashes)
    assert f"{crashes + 1} times" in flower.shows(result, "FAILURE")["exception"]


def test_time_limit_is_shown_as_a_failure(flower: Flower) -> None:
    result = flower.watch.send("echo", "slow", 60, time_limit=1)
    assert "TimeLimitExceeded" in flower.shows(result, "FAILURE")["exception"]


def test_expired_job_is_shown_as_revoked(flower: Flower) -> None:
    flower.shows(flower.watch.send("echo", expires=-1), "REVOKED")


def test_running_job_is_terminated(flower: Flower) -> None:
    result = flower.watch.send("echo", "long", 60)
    flower.shows(result, "STARTED")
    assert flower.post(f"task/revoke/{result.id}", params={"terminate": "true"}).status_code == 200
    assert flower.shows(result, "REVOKED")["revoked"]


def test_waiting_job_is_revoked_and_never_runs(flower: Flower) -> None:
    busy = [flower.watch.send("echo", number, 60) for number in range(2)]
    for each in busy:
        flower.shows(each, "STARTED")
    waiting = flower.watch.send("echo", "never")
    flower.post(f"task/revoke/{waiting.id}")
    flower.watch.state(waiting, "REVOKED")
    for each in busy:
        each.revoke(terminate=True)
        flower.shows(each, "REVOKED")
    assert flower.watch.job(waiting).attempt == 0


def test_tasks_are_applied_and_their_results_read(flower: Flower) -> None:
    asked = flower.post("task/async-apply/watched.add", json={"args": [1, 2]}).json()
    assert flower.watch.app.jobs.wait(asked["task-id"], timeout=15).result == 3
    answer = flower.http.get(f"/api/task/result/{asked['task-id']}").json()
    assert (answer["state"], answer["result"]) == ("SUCCESS", 3)
    assert flower.post("task/apply/watched.add", json={"args": [2, 2]}).json()["result"] == 4
    sent = flower.post("task/send-task/watched.add", json={"kwargs": {"x": 1, "y": 4}}).json()
    assert flower.watch.app.jobs.wait(sent["task-id"], timeout=15).result == 5


def test_pool_grows_shrinks_and_says_what_it_cannot_do(flower: Flower) -> None:
    name = flower.worker
    assert flower.post(f"worker/pool/grow/{name}", params={"n": 1}).status_code == 200
    eventually(lambda: len(flower.watch.worker.pool()), lambda count: count == 3)
    assert flower.post(f"worker/pool/shrink/{name}", params={"n": 1}).status_code == 200
    eventually(lambda: len(flower.watch.worker.pool()), lambda count: count == 2)
    refused = flower.post(f"worker/pool/autoscale/{name}", params={"min": 1, "max": 3})
    assert (refused.status_code, "Autoscale not enabled" in refused.text) == (403, True)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("worker/queue/add-consumer/{}", {"queue": "more"}),
        ("worker/queue/cancel-consumer/{}", {"queue": "more"}),
        ("task/rate-limit/watched.fails", {"ratelimit": "100/s"}),
        ("task/timeout/watched.fails", {"hard": "20", "soft": "10"}),
    ],
)
def test_worker_takes_settings(flower: Flower, path: str, params: dict[str, str]) -> None:
    answer = flower.post(path.format(flower.worker), params=params | {"workername": flower.worker})
    assert answer.status_code == 200, answer.text


def test_pages_open_and_hide_the_password_of_the_broker(flower: Flower) -> None:
    result = flower.watch.send("echo", "<b>")
    flower.shows(result, "SUCCESS")
    pages = [flower.page(path) for path in ("/", "/tasks", "/broker", f"/task/{result.id}", f"/worker/{flower.worker}")]
    assert "celery" in pages[2]
    assert "watched.echo" in pages[3]
    assert "watched.again" in pages[4]
    password = flower.watch.broker.split("@")[0].rpartition(":")[2]
    assert not any(password in page or "<b>" in page for page in pages)


def test_worker_is_online_and_its_counts_are_right(flower: Flower) -> None:
    assert flower.http.get("/api/workers", params={"status": "1"}).json() == {flower.worker: True}
    queues = flower.http.get("/api/queues/length").json()["active_queues"]
    assert {"name": "celery", "messages": 0} in queues
    assert "watched.echo" in flower.http.get("/api/task/types").json()["task-types"]
    eventually(lambda: flower.http.get("/metrics").text, lambda text: "flower_worker_online{" in text)
