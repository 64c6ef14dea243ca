"""The embedded Kafka: durable over kills, frozen and thawed at will, seen from this machine only."""

import socket
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from trilho.embedded import DataInUse, Kafka, maven
from trilho.errors import ConfigurationError

QUIET = {"log_level": 0}


def produce(server: KafkaServer, topic: str, *values: str) -> None:
    producer = Producer(QUIET | {"bootstrap.servers": server.bootstrap(), "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(15) == 0


def values(server: KafkaServer, topic: str, count: int) -> list[str]:
    consumer = Consumer(QUIET | {"bootstrap.servers": server.bootstrap(), "group.id": topic})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value().decode() for message in consumer.consume(count, timeout=15)]
    finally:
        consumer.close()


def cluster(server: KafkaServer) -> str:
    return str(AdminClient(QUIET | {"bootstrap.servers": server.bootstrap()}).list_topics(timeout=10).cluster_id)


def answers(admin: AdminClient, timeout: float) -> bool:
    with suppress(KafkaException):
        return bool(admin.list_topics(timeout=timeout).brokers)
    return False


def test_what_it_acknowledged_survives_a_kill_on_the_same_port(own_kafka: KafkaServer) -> None:
    before = own_kafka.bootstrap(), cluster(own_kafka)
    produce(own_kafka, "killed", "a", "b")
    own_kafka.restart()
    assert (own_kafka.bootstrap(), cluster(own_kafka)) == before
    assert values(own_kafka, "killed", 2) == ["a", "b"]


def test_a_paused_broker_answers_nothing_until_it_is_resumed(own_kafka: KafkaServer) -> None:
    admin = AdminClient(QUIET | {"bootstrap.servers": own_kafka.bootstrap()})
    assert answers(admin, 10)
    own_kafka.pause()
    assert own_kafka.running
    eventually(lambda: not answers(admin, 0.5))  # its last thread may stop a moment later
    own_kafka.resume()
    assert answers(admin, 10)


def test_it_listens_on_this_machine_only(own_kafka: KafkaServer) -> None:
    listening = [c for c in psutil.Process(own_kafka.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
    assert own_kafka.port in {c.laddr.port for c in listening}


def test_a_second_owner_is_refused_while_the_first_lives(own_kafka: KafkaServer) -> None:
    with pytest.raises(DataInUse, match="a Kafka runs in it"):
        Kafka(own_kafka.data).start()


def test_a_shell_may_have_its_address_from_a_run_that_ended(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        (tmp_path / "port").write_text(str(port))
        assert not Kafka(tmp_path).was_at(f"127.0.0.1:{port}"), "that is another broker now"
    assert Kafka(tmp_path).was_at(f"127.0.0.1:{port}")
    assert not Kafka(tmp_path).was_at("kafka.example:9092")


def test_without_java_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="needs Java 17"):
        Kafka(tmp_path / "data").start()


def test_maven_is_needed_for_the_first_start_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="needs Maven"):
        maven.jars("program-1", "group:artefact:1")
    (tmp_path / ".cache" / "trilho" / "program-1").mkdir(parents=True)
    assert maven.jars("program-1", "group:artefact:1").is_dir()


def test_a_download_that_fails_leaves_nothing_that_looks_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "mvn"
    program.write_text('#!/bin/sh\n/bin/mkdir jars\necho "[ERROR] no such artefact"\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="could not fetch Kafka: no such artefact"):
        maven.jars("program-1", "group:artefact:1")
    assert list((tmp_path / ".cache" / "trilho").iterdir()) == []
