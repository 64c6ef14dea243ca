"""`trilho up --kafka`: a broker of the stack's own, or the one that is there."""

import os
import signal
import socket
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.cli.project import Project
from tests.lab import processes
from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from tests.lab.servers import missing
from trilho.embedded.ports import free_port, taken

pytestmark = pytest.mark.timeout(110)

VARIABLE = "TRILHO_KAFKA_BOOTSTRAP"
QUIET = {"log_level": 0}
QUICK = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""Java starts with half of the work."""


@pytest.fixture(scope="module")
def files() -> None:
    """What a broker is made of, where this machine can have one."""
    if lack := KafkaServer.lack():
        missing("Kafka", lack)


def topics(bootstrap: str) -> set[str]:
    return set(AdminClient(QUIET | {"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


def test_a_stack_keeps_its_kafka_through_kills_of_either(project: Project, files: None) -> None:
    port = free_port()
    bootstrap = f"127.0.0.1:{port}"
    with project.up("--workers", "0", "--kafka-port", str(port), **QUICK) as up:
        joined = project.json("env")
        assert joined[VARIABLE] == bootstrap
        producer = Producer(QUIET | {"bootstrap.servers": bootstrap})
        producer.produce("orders", "{}")
        assert producer.flush(15) == 0
        os.kill(project.ps()["kafka"]["pid"], signal.SIGKILL)
        up.wait_for("kafka was killed by SIGKILL, starts again in 0.5 s")
        up.wait_for("kafka is ready", count=2)
        assert "orders" in topics(bootstrap)
        up.stop(signal.SIGKILL)
        eventually(lambda: not taken(port))
    with project.up("--workers", "0", **joined, **QUICK):
        assert project.json("env") == joined, "the shell has the address of a broker that went down with its stack"
        assert "kafka" in project.ps()
        assert "orders" in topics(bootstrap)
    assert processes.marked(project.mark) == []


def test_a_kafka_that_is_given_is_used_and_none_started(project: Project, database: str, valkey: str) -> None:
    given = {"TRILHO_DATABASE_URL": database, "TRILHO_BROKER_URL": valkey, VARIABLE: "kafka.example:9092"}
    with project.up("--workers", "0", "--kafka", **given):
        assert given.items() <= project.json("env").items()
        assert sorted(project.ps()) == ["mail"]


def test_a_port_in_use_is_one_clear_line_and_leaves_nothing(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        done = project.trilho("up", "-A", "shop", "--kafka-port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"trilho: port {port} is in use: choose another for Kafka with --kafka-port\n"
    assert processes.marked(project.mark) == []


@pytest.mark.parametrize(("program", "remedy"), [("java", "default-jre-headless"), ("mvn", "install maven")])
def test_what_is_missing_is_one_clear_line(project: Project, tmp_path: Path, program: str, remedy: str) -> None:
    if program == "mvn":
        (tmp_path / "java").touch(mode=0o755)
    done = project.trilho("up", "-A", "shop", "--kafka-port", str(free_port()), PATH=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("trilho: ")
    assert remedy in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert processes.marked(project.mark) == []
