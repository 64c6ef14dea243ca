"""The services of compose.yaml, started here with their own commands and environment, on embedded servers."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.lab import database as databases
from tests.lab import processes
from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from tests.lab.servers import scratch
from tests.ops import compose
from tests.ops.compose import Local
from trilho.embedded.ports import free_port

pytestmark = pytest.mark.timeout(120)

SERVICES = compose.load()["services"]


@pytest.fixture
def local(postgres_server: str, valkey: str, own_kafka: KafkaServer) -> Iterator[Local]:
    """A machine with an empty database, a broker, and a shared folder."""
    url = databases.create(postgres_server)
    with scratch() as data:
        yield Local(url, valkey, own_kafka.url(), data, free_port(), free_port(), free_port())
        processes.end(str(data))
    databases.drop(url)


def environment(local: Local, name: str) -> dict[str, str]:
    return local.environment(SERVICES[name]) | {processes.MARK: str(local.data)}


def run(local: Local, name: str, command: list[str]) -> int:
    return subprocess.run(
        _here(command), env=environment(local, name), cwd=compose.ROOT / "src", check=False
    ).returncode


def started(local: Local, name: str, stack: ExitStack) -> None:
    output = stack.enter_context((local.data / f"{name}.log").open("w"))
    stack.enter_context(
        subprocess.Popen(
            _here(local.command(SERVICES[name])),
            env=environment(local, name),
            cwd=compose.ROOT / "src",  # as in the image: the shop is in the working directory
            stdout=output,
            stderr=output,
        )
    )


def answer(local: Local, path: str, method: str = "GET") -> Any:
    with urlopen(Request(f"http://127.0.0.1:{local.port}{path}", method=method), timeout=10) as response:
        return json.load(response)


def test_services_work_together_and_the_pasted_commands_need_no_key(local: Local) -> None:
    assert run(local, "migrate", local.command(SERVICES["migrate"])) == 0
    with ExitStack() as stack:
        for name in ("mail", "api", "worker", "worker-2", "consumer", "flower"):
            started(local, name, stack)
        stack.callback(processes.end, str(local.data))
        health = [part.replace("8000", str(local.port)) for part in SERVICES["api"]["healthcheck"]["test"][1:]]
        eventually(lambda: run(local, "api", health) == 0, timeout=30, every=0.5)
        greeting = [part.replace("1025", str(local.mail_port)) for part in SERVICES["mail"]["healthcheck"]["test"][1:]]
        eventually(lambda: run(local, "mail", greeting) == 0, timeout=30, every=0.5)
        for name in ("worker", "consumer", "flower"):
            probe = [part.replace("5555", str(local.flower_port)) for part in SERVICES[name]["healthcheck"]["test"][1:]]
            eventually(partial(run, local, name, probe), lambda code: code == 0, timeout=30, every=0.5)
        eventually(lambda: len(answer(local, "/queue/stats")["workers"]), lambda count: count == 2, timeout=30)

        before = time.monotonic()
        accepted = answer(local, "/process-csv?filename=vendas.csv&num_rows=200", "POST")
        assert time.monotonic() - before < 5
        done = eventually(
            lambda: answer(local, f"/tasks/{accepted['task_id']}"), lambda task: task["status"] == "SUCCESS", timeout=60
        )
        assert done["worker"].startswith(("worker@", "worker-2@"))
        assert list(local.data.rglob("vendas.csv")), "files are in the folder that api and workers share"
        answer(local, "/send-report?email=eu@empresa.com&report_type=vendas", "POST")
        page = eventually(lambda: answer(local, "/mail"), lambda page: page["items"], timeout=30)
        assert page["items"][0]["recipient"] == "eu@empresa.com"


def test_a_worker_that_is_not_there_is_not_healthy(local: Local) -> None:
    assert run(local, "migrate", local.command(SERVICES["migrate"])) == 0
    assert run(local, "worker", SERVICES["worker"]["healthcheck"]["test"][1:]) == 1


def _here(command: list[str]) -> list[str]:
    """The image has `trilho`, `celery` and `python` on its PATH; here they are those of this interpreter."""
    program, *arguments = command
    modules = {"trilho": ["-m", "trilho.cli"], "celery": ["-m", "celery"]}
    return [sys.executable, *modules.get(program, []), *arguments]


def test_the_folder_of_the_image_is_the_volume_of_the_file() -> None:
    assert "TRILHO_DATA=/data" in (compose.ROOT / "Dockerfile").read_text()
    assert SERVICES["api"]["volumes"] == ["files:/data"]
    assert Path(compose.ROOT / "src" / "loja").is_dir()
