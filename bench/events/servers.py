"""PostgreSQL, Valkey and Kafka, with a database and a topic for each stack."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.events.order import PARTITIONS, PLAIN
from bench.stand import Stand, stand
from trilho.embedded import Kafka
from trilho.errors import ConfigurationError

TRILHO = 2
"""The database of Valkey that Trilho's dispatcher looks into; no job runs."""


@dataclass(frozen=True)
class Servers:
    """What runs; `missing` says in one line why there is no Kafka."""

    stand: Stand
    kafka: str | None
    missing: str = ""

    def environment(self, name: str, *, kafka: bool) -> dict[str, str]:
        """Trilho's variables, on a new database."""
        variables = {
            "TRILHO_DATABASE_URL": self.stand.create_database(name),
            "TRILHO_BROKER_URL": self.stand.valkey.url(TRILHO),
        }
        return variables | ({"TRILHO_KAFKA_BOOTSTRAP": self.kafka} if kafka and self.kafka else {})


@contextmanager
def servers() -> Iterator[Servers]:
    """Start everything; without Java or Maven all but Kafka."""
    with stand() as ours, tempfile.TemporaryDirectory(prefix="trilho-bench-") as folder:
        try:
            Kafka.require()
        except ConfigurationError as error:
            yield Servers(ours, None, str(error))
            return
        kafka = Kafka(Path(folder) / "kafka")
        kafka.start()
        try:
            _make(kafka.url(), PLAIN)
            yield Servers(ours, kafka.url())
        finally:
            kafka.stop()


def _make(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS)])[topic].result()
