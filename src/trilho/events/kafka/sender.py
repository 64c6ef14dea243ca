"""The transactional producer of one shard."""

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from trilho.events.kafka.cluster import FOR_GOOD, made, refused
from trilho.events.kafka.marks import Marks
from trilho.events.kafka.message import headers_of
from trilho.events.kafka.store import Row
from trilho.faults import Faults

TRANSACTION = 15_000
"""Milliseconds after which Kafka ends a transaction of a relay that is gone: so long it can hold readers up."""
MESSAGE = 6_000
"""Milliseconds after which an event counts as not delivered: so late it is noticed that a topic was deleted."""
PATIENCE = 10.0
"""Seconds for each step of a transaction; with its events, which have the time above, one is over sooner than HANGS."""


class Aborted(Exception):
    """Nothing of the batch is out; the producer may be used again."""


@dataclass
class Sender:
    """Of all that have the same name in Kafka only the one that was opened last can write.

    Whatever goes wrong, a new one finds out what became of the batch; so this one is thrown away.
    """

    marks: Marks
    shard: int
    faults: Faults
    _refused: list[KafkaError] = field(default_factory=list)

    def __post_init__(self) -> None:
        cluster = self.marks.cluster
        own = {
            "transactional.id": f"trilho-{self.marks.database}-{self.shard}",
            "transaction.timeout.ms": TRANSACTION,
            "message.timeout.ms": MESSAGE,
            "message.max.bytes": 1_000_000_000,  # the broker and the topic decide
            "delivery.report.only.error": True,
            # A transaction may begin before the broker has ended the one before: it says so, and is asked again.
            "retry.backoff.ms": 2,
            "retry.backoff.max.ms": 50,
            "on_delivery": self._note,
        }
        self._producer: Producer = made(Producer, cluster.config(own))
        self._group = self.marks.group  # kept: asking for it waits for librdkafka

    def __del__(self) -> None:
        """To end a producer librdkafka may wait for brokers that are away; the thread that drops it must not."""
        last = [self.__dict__.pop("_producer", None)]
        with suppress(RuntimeError):  # the interpreter is ending
            threading.Thread(target=last.clear, name="trilho-relay-end", daemon=True).start()

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and error.code() in FOR_GOOD:
            self._refused.append(error)

    def open(self) -> int | None:
        """Fence every former producer of the shard off and end its transaction; returns the number of what is out."""
        self.marks.ensure()
        try:
            self._producer.init_transactions(PATIENCE)
        except KafkaException as error:
            raise self._judged(error) from error
        return self.marks.committed(self.shard)

    def mark(self, number: int) -> None:
        """Say again which number is out, so that Kafka keeps it."""
        self._transact(number, (), {})

    def send(self, number: int, batch: Iterable[Row], partitions: Mapping[str, int]) -> None:
        """Write a batch and its number in one transaction.

        Raises KafkaRefused when Kafka will never take one of the events, Aborted when it did not take them now: then
        nothing of the batch is out. After KafkaAway nobody knows.
        """
        self._transact(number, batch, partitions)
        self.faults.hit("relay.after_kafka_commit")

    def _transact(self, number: int, batch: Iterable[Row], partitions: Mapping[str, int]) -> None:
        self._refused.clear()
        try:
            self._producer.begin_transaction()
            self._produce(batch, partitions)  # may raise ValueError: such an event can never be written
            self._producer.send_offsets_to_transaction(self.marks.at(self.shard, number), self._group, PATIENCE)
            self.faults.hit("relay.before_kafka_commit")
            self._producer.commit_transaction(PATIENCE)
        except ValueError as error:
            code = KafkaError.INVALID_RECORD
            raise self._judged(KafkaException(KafkaError(code, f"the event cannot be written: {error}"))) from error
        except KafkaException as error:
            raise self._judged(error) from error

    def _produce(self, batch: Iterable[Row], partitions: Mapping[str, int]) -> None:
        produce = self._producer.produce
        for topic, hash_, key, data, id_, type_, time, attributes, content_type in batch:
            headers = headers_of(id_, type_, time, attributes, content_type)
            produce(topic, data, key, hash_ % partitions[topic], headers=headers)

    def _judged(self, raised: KafkaException) -> Exception:
        """What became of the batch is known only if the transaction could be taken back."""
        self._producer.poll(0)
        error: KafkaError = self._refused[0] if self._refused else raised.args[0]
        for_good = error.code() in FOR_GOOD
        away = self.marks.cluster.away(raised.args[0].str())
        if not (for_good or raised.args[0].txn_requires_abort()):
            return away
        try:
            self._producer.abort_transaction(PATIENCE)
        except KafkaException as failed:
            return self.marks.cluster.away(failed.args[0].str())
        return refused(error) if for_good else Aborted(str(away))
