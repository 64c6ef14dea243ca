"""The Kafka cluster that TRILHO_KAFKA_BOOTSTRAP names: its identity, its topics, how its clients are configured."""

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic

from trilho.errors import ConfigurationError, KafkaAway, KafkaRefused
from trilho.events.log_admin import Place
from trilho.events.topic import Topic
from trilho.settings import Settings

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that a question to the cluster may take."""
ROOM = 48_000
"""Bytes of a record beside its data: key, headers, envelope, framing. A topic that is made takes the largest event."""
DEFAULT_RECORD = 1_048_588
"""`max.message.bytes` of a topic whose maker says nothing."""

RETENTION = "retention.ms"

FOR_GOOD = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    }
)
"""What Kafka says about one record or topic, and will say again."""
PASSING = frozenset(
    {
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.INVALID_REPLICATION_FACTOR,  # fewer brokers than there should be
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
    }
)
"""What a broker says that is not itself now. Errors below zero are librdkafka's: no broker was heard."""


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """A topic as Kafka has it; one that is deleted and made again has another identity."""

    name: str
    identity: str
    partitions: int


@dataclass(eq=False)
class Cluster:
    """Answers within some seconds, or raises KafkaAway; refusals raise KafkaRefused. Safe in threads and after forks.

    Raises ConfigurationError, at the first use, for options that librdkafka does not know.
    """

    bootstrap: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    largest: int = 1_000_000  # bytes of an event's data
    trouble: str = ""
    """What librdkafka said last about a connection."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _admin: AdminClient | None = field(default=None, repr=False)
    _pid: int = 0
    _identity: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Cluster":
        """The cluster of the settings; raises ConfigurationError without one."""
        if not settings.kafka_bootstrap:
            raise ConfigurationError("TRILHO_KAFKA_BOOTSTRAP is not set")
        return cls(settings.kafka_bootstrap, settings.kafka_options, settings.max_payload)

    def config(self, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Configuration of a client: ours, then what the user says, then `own`, which must not be overruled."""
        ours = {
            "client.id": "trilho",
            "log_level": 0,
            "reconnect.backoff.max.ms": 1000,
            # Else librdkafka 2.16 forgets every broker once none answers: calls that wait for the coordinator then do
            # not return, whatever their time limit, and a thread for each forgotten broker spins.
            "metadata.recovery.strategy": "none",
            "socket.keepalive.enable": True,
        }
        fixed = {"bootstrap.servers": self.bootstrap, "error_cb": self._note}
        return ours | dict(self.options) | fixed | dict(own or {})

    def _note(self, error: KafkaError) -> None:
        self.trouble = error.str()

    @property
    def admin(self) -> AdminClient:
        """The administrative client of this process.

        `list_consumer_group_offsets` only of groups whose coordinator has just answered: with librdkafka 2.16 the
        process crashes when it is not there at that moment. A consumer's `committed` answers the same question.
        """
        with self._lock:
            if self._admin is None or self._pid != os.getpid():
                self._admin, self._pid = made(AdminClient, self.config()), os.getpid()
            return self._admin

    # ---- questions

    @property
    def identity(self) -> str:
        """Kafka's id of the cluster."""
        return self._identity or self.look_up()

    def look_up(self) -> str:
        """Kafka's id of the cluster that the address leads to now."""
        self._identity = str(self.ask(self.admin.describe_cluster(request_timeout=PATIENCE)).cluster_id)
        return self._identity

    def log_of(self, topic: KafkaTopic) -> str:
        """The log identity under which `offsets` knows a topic."""
        return f"kafka:{self.identity}:{topic.identity}"

    def names(self) -> list[str]:
        """All topics but Kafka's own."""
        try:
            listed = self.admin.list_topics(timeout=PATIENCE).topics
        except KafkaException as error:
            raise self.error(error) from error
        return sorted(name for name in listed if not name.startswith("__"))

    def topics(self, names: Collection[str]) -> dict[str, KafkaTopic]:
        """Those of the topics that exist."""
        if not names:
            return {}
        told = self.admin.describe_topics(TopicCollection(sorted(names)), request_timeout=PATIENCE)
        found: dict[str, KafkaTopic] = {}
        for name, future in told.items():
            try:
                topic = self.ask(future)
            except KafkaRefused as error:
                if error.code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
            else:
                found[name] = KafkaTopic(name, str(topic.topic_id), len(topic.partitions))
        return found

    def make(self, topics: Sequence[Topic]) -> dict[str, KafkaRefused]:
        """Make topics that do not exist, as declared; returns what Kafka refused.

        A topic that exists is left as it is: its retention and its partitions may be somebody else's decision.
        """
        if not topics:
            return {}
        asked = self.admin.create_topics([self._new(topic) for topic in topics], request_timeout=PATIENCE)
        refused: dict[str, KafkaRefused] = {}
        for name, future in asked.items():
            try:
                self.ask(future)
            except KafkaRefused as error:
                if error.code != KafkaError.TOPIC_ALREADY_EXISTS:
                    refused[name] = error
        return refused

    def _new(self, topic: Topic) -> NewTopic:
        config = {RETENTION: kept_for(topic.retention_seconds)}
        if self.largest + ROOM > DEFAULT_RECORD:
            config["max.message.bytes"] = str(self.largest + ROOM)
        return NewTopic(topic.name, num_partitions=topic.partitions, config=config)

    def offsets(self, places: Collection[Place], spec: OffsetSpec) -> Callable[[], dict[Place, int]]:
        """Ask for an offset of each partition, as readers of what is committed see it.

        Returns what gives the answer, so that several questions are on their way together.
        """
        if not places:
            return dict
        asked = self.admin.list_offsets(
            {TopicPartition(topic, number): spec for topic, number in places},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=PATIENCE,
        )
        return lambda: {(p.topic, p.partition): self.ask(future).offset for p, future in asked.items()}

    # ---- answers

    def ask(self, future: "Future[T]") -> T:
        """The answer to a question of the administrative client."""
        try:
            answer = future.result(timeout=PATIENCE + 1)
        except KafkaException as error:
            raise self.error(error) from error
        except TimeoutError as error:
            raise self.away("it does not answer") from error
        self.trouble = ""
        return answer

    def error(self, raised: KafkaException) -> KafkaAway | KafkaRefused:
        """The error of ours for what a client of Kafka raised: away, or it was reached and refuses."""
        error: KafkaError = raised.args[0]
        if error.code() < 0 or error.code() in PASSING or error.retriable():
            self.admin.poll(0)  # lets the client say why
            return self.away(error.str())
        return refused(error)

    def away(self, reason: str) -> KafkaAway:
        """The error for a cluster that cannot be used now, with what librdkafka knows about it."""
        because = f"{reason}; {self.trouble}" if self.trouble else reason
        return KafkaAway(f"Kafka at {self.bootstrap} (TRILHO_KAFKA_BOOTSTRAP) cannot be used now: {because}")


def refused(error: KafkaError) -> KafkaRefused:
    """The error for a cluster that was reached and refuses."""
    return KafkaRefused(error.code(), f"Kafka refuses: {error.str()} ({error.name()})")


def kept_for(seconds: float | None) -> str:
    """A retention as `retention.ms` has it; None is for ever."""
    return "-1" if seconds is None else str(round(seconds * 1000))


Client = TypeVar("Client")


def made(client: Callable[[dict[str, Any]], Client], config: dict[str, Any]) -> Client:
    """A client; raises ConfigurationError for options that librdkafka does not take."""
    try:
        return client(config)
    except KafkaException as error:
        raise ConfigurationError(f"TRILHO_KAFKA_BOOTSTRAP or TRILHO_KAFKA_OPTIONS: {error.args[0].str()}") from error
