"""What the cluster answers about topics, and what it says when it cannot."""

from datetime import timedelta
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import ConfigResource

from tests.lab.poll import eventually
from trilho.embedded.ports import free_port
from trilho.errors import KafkaAway
from trilho.events.kafka.cluster import Cluster
from trilho.events.topic import Topic


def config_of(cluster: Cluster, name: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    entries = cluster.admin.describe_configs([resource])[resource].result()
    return {key: entry.value for key, entry in entries.items()}


def test_topic_made_again_has_another_log_identity(kafka: str) -> None:
    cluster, name = Cluster(kafka), f"cluster-{uuid4().hex[:8]}"
    identities = set()
    for partitions in (2, 3):
        assert cluster.make([Topic(name, partitions)]) == {}
        topic = eventually(lambda: cluster.topics([name, "no-such-topic"])).pop(name)
        assert topic.partitions == partitions
        identities.add(cluster.log_of(topic))
        cluster.admin.delete_topics([name])[name].result()
        eventually(lambda: cluster.topics([name]), lambda found: not found)
    assert len(identities) == 2
    assert all(identity.startswith(f"kafka:{cluster.identity}:") for identity in identities)


def test_topic_is_made_as_declared_and_left_alone_when_it_is_there(kafka: str) -> None:
    cluster, name = Cluster(kafka, largest=5_000_000), f"cluster-{uuid4().hex[:8]}"
    assert cluster.make([Topic(name, 2, timedelta(hours=1))]) == {}
    assert cluster.make([Topic(name, 9, None)]) == {}
    config = eventually(lambda: config_of(cluster, name), ignoring=(Exception,))
    assert (config["retention.ms"], int(config["max.message.bytes"]) > 5_000_000) == ("3600000", True)
    assert cluster.topics([name])[name].partitions == 2


def test_topic_whose_name_collides_with_another_is_refused_and_the_others_are_made(kafka: str) -> None:
    cluster, name = Cluster(kafka), f"cluster-{uuid4().hex[:8]}"
    assert cluster.make([Topic(f"{name}.a", 1)]) == {}
    (refused,) = cluster.make([Topic(f"{name}_a", 1), Topic(f"{name}-b", 1)]).items()
    assert (refused[0], refused[1].code) == (f"{name}_a", KafkaError.TOPIC_EXCEPTION)
    assert eventually(lambda: cluster.topics([f"{name}_a", f"{name}-b"])).keys() == {f"{name}-b"}


def test_cluster_that_does_not_answer_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilho.events.kafka.cluster.PATIENCE", 0.5)
    with pytest.raises(KafkaAway, match=r"TRILHO_KAFKA_BOOTSTRAP.*refused"):
        Cluster(f"127.0.0.1:{free_port()}").names()
