"""How the client of a group's member is configured; what the user says counts, except where correctness hangs on it."""

from collections.abc import Mapping
from typing import Any

from trilho.events.kafka.cluster import Cluster

_OURS = {
    # Foreign members (kafka-python, the console consumer) know these two; cooperative-sticky would lock them out.
    "partition.assignment.strategy": "roundrobin,range",
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_500,
    "topic.metadata.refresh.interval.ms": 2_000,
    "queued.min.messages": 2_000,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 20,
}
_NOT_FOR_KIP_848 = ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms")
_FIXED = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
}


def prefix_of(installation: str) -> str:
    """How the client ids of the members of this database begin; who joins with another one is a stranger."""
    return f"trilho-{installation}-"


def configuration(cluster: Cluster, group: str, name: str, protocol: str) -> dict[str, Any]:
    """The configuration of a member that calls itself `name`."""
    own = {key: value for key, value in _OURS.items() if protocol == "classic" or key not in _NOT_FOR_KIP_848}
    fixed = _FIXED | {"group.id": group, "group.protocol": protocol, "client.id": name}
    return own | cluster.config(fixed)


def is_cooperative(config: Mapping[str, Any]) -> bool:
    """Whether partitions come and go one by one."""
    strategies = str(config.get("partition.assignment.strategy", ""))
    return config["group.protocol"] == "consumer" or "cooperative" in strategies
