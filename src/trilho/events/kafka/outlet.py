"""The outlet into Kafka: number a batch and commit, write it in a Kafka transaction, delete its rows.

PostgreSQL is asked by the relay's thread, Kafka by threads of the shards: a broker that does not answer holds up
neither the leases nor other shards.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID
from weakref import WeakKeyDictionary

from confluent_kafka import Producer

from trilho.db.pool import Connection, Database, brief_transaction
from trilho.errors import KafkaRefused
from trilho.events.kafka import store
from trilho.events.kafka.cluster import FOR_GOOD, Cluster, made
from trilho.events.kafka.complaints import Complaints
from trilho.events.kafka.marks import Marks
from trilho.events.kafka.partitions import Partitions
from trilho.events.kafka.sender import Aborted, Sender
from trilho.events.kafka.shard import (
    AWAY,
    SOON,
    Answer,
    Broken,
    Fate,
    Marked,
    Opened,
    Refused,
    Sent,
    Shard,
    TakenBack,
    fate,
)
from trilho.events.kafka.store import Recorded
from trilho.events.outlet import LEASE, Look
from trilho.events.store import Moved
from trilho.events.topic import Topic

DOUBT = 30.0
"""Seconds between two looks whether a person has settled what is in doubt."""
ENDING = 1.0
"""Seconds that a relay which stops waits for what Kafka has in hand."""


@dataclass
class KafkaOutlet:
    """Owns a producer for each shard. Whatever goes wrong with a shard, it begins again by asking Kafka what is out."""

    database: Database
    cluster: Cluster
    ring: Callable[[], None]
    partitions: Partitions
    complaints: Complaints = field(default_factory=Complaints)
    _shards: dict[int, Shard] = field(default_factory=dict)
    _senders: WeakKeyDictionary[Shard, Sender] = field(default_factory=WeakKeyDictionary)
    _marks: Marks | None = None

    @classmethod
    def of(cls, database: Database, ring: Callable[[], None]) -> "KafkaOutlet":
        """The outlet into the cluster of the settings; raises ConfigurationError for options that cannot be used."""
        cluster = Cluster.of(database.settings)
        made(Producer, cluster.config()).close()
        return cls(database, cluster, ring, Partitions(cluster))

    def is_open(self, _connection: Connection) -> bool:
        """Always: whether Kafka is there shows later, and holds nobody up."""
        return True

    def look(self, connection: Connection, owner: UUID, floors: Mapping[int, int]) -> Look:
        """Settle what Kafka has answered, and let the next batches go."""
        now = time.monotonic()
        marks = self._marks = self._marks or Marks(self.cluster, store.installation(connection))
        self._shards = {number: self._shard(number, now) for number in floors}
        shards = self._shards.values()
        ours, moved = len(floors), list[Moved]()
        if any(shard.answer is not None or shard.may_choose(now) or shard.must_open(now) for shard in shards):
            ours, moved = self._transact(connection, owner, floors, now)
        for shard in shards:
            if shard.must_open(now):
                self._start(shard, partial(self._open, shard, marks))
            elif shard.must_mark(now):
                self._start(shard, partial(self._mark, shard))
        return Look(moved, ours, more=False)

    def leave(self, connection: Connection, owner: UUID) -> None:
        """Settle what Kafka answers within a moment."""
        deadline = time.monotonic() + ENDING
        while any(shard.busy for shard in self._shards.values()) and time.monotonic() < deadline:
            time.sleep(0.01)
        with brief_transaction(connection, LEASE):
            self._settle(connection, store.lock_lanes(connection, owner, self._shards), time.monotonic())

    def _shard(self, number: int, now: float) -> Shard:
        shard = self._shards.get(number)
        if shard is not None and shard.hangs(now):
            self.complaints.hangs(number)
            shard = None
        return shard or Shard(number)

    # ---- PostgreSQL: in the relay's thread

    def _transact(
        self, connection: Connection, owner: UUID, floors: Mapping[int, int], now: float
    ) -> tuple[int, list[Moved]]:
        """One commit for what became of the last batches, and for the next ones."""
        try:
            with brief_transaction(connection, LEASE):
                recorded = store.lock_lanes(connection, owner, floors)
                moved = self._settle(connection, recorded, now)
                declared = self._choose(connection, {number: floors[number] for number in recorded}, now)
        except BaseException:
            for shard in self._shards.values():  # nobody knows whether the commit took place
                shard.distrust()
            raise
        for number in floors.keys() - recorded.keys():
            del self._shards[number]
        if moved:
            self.database.faults.hit("relay.settled")
        self._let_go(declared)
        return len(recorded), moved

    def _settle(self, connection: Connection, recorded: Mapping[int, Recorded], now: float) -> list[Moved]:
        """Write down what became of the batches, as far as it is known."""
        settled: dict[Fate, dict[int, int]] = {kind: {} for kind in Fate}
        for number, record in recorded.items():
            shard = self._shards[number]
            if shard.busy:
                continue
            if not shard.believes(record):
                shard.forget(now)
                shard.token = record.token
            elif shard.answer is not None:
                kind = fate(shard.answer, record)
                settled[kind][number] = self._learn(connection, shard, record, kind, now)
        if numbers := settled[Fate.NOT_OUT]:
            store.dissolve(connection, numbers)
        return store.finish(connection, settled[Fate.OUT]) if settled[Fate.OUT] else []

    def _learn(self, connection: Connection, shard: Shard, record: Recorded, kind: Fate, now: float) -> int:
        """Take an answer in; returns the last number that Kafka is known to have."""
        answer, known = shard.answer, 0
        if isinstance(answer, Opened):
            known = answer.committed or 0
        elif isinstance(answer, (Sent, Marked)):
            shard.marked(now)
        elif isinstance(answer, (TakenBack, Broken)):
            if not shard.refusing:  # librdkafka stumbles over the gap that a refusal leaves in its sequence
                self.complaints.away(answer.error, now)
            self.partitions.forget(row[0] for row in shard.batch)
            shard.retry_at = now + SOON
        if kind is Fate.UNKNOWN:
            shard.forget(now + AWAY)
        elif kind is Fate.IN_DOUBT:
            first = store.first_in_doubt(connection, shard.number)
            self.complaints.doubt(shard.number, record.waiting, first)
            shard.forget(now + DOUBT)
        else:
            if kind is Fate.REFUSED and isinstance(answer, Refused):
                store.bury(connection, shard.number, str(answer.error))
                self.complaints.refused(shard.batch[0], answer.error)
            shard.settled(record, known)
        return known

    def _choose(self, connection: Connection, floors: Mapping[int, int], now: float) -> list[Topic]:
        """Number the next batches; returns how topics of theirs are declared that Kafka may have to make."""
        if found := self.partitions.found():
            store.adopt(connection, found)
        free = {number: floor for number, floor in floors.items() if self._shards[number].may_choose(now)}
        if not free:
            return []
        limits = {number: self._shards[number].limit for number in free}
        chosen = store.choose(connection, free, limits, self.cluster.identity)
        for number, batch in chosen.items():
            self._shards[number].chosen(batch)
        asked = self.partitions.stale({row[0] for batch in chosen.values() for row in batch})
        return store.declared(connection, asked) if asked else []

    def _let_go(self, declared: list[Topic]) -> None:
        chosen = [shard for shard in self._shards.values() if shard.has_batch]
        if chosen:
            self.database.faults.hit("relay.numbered")
        for shard in chosen:
            self._start(shard, partial(self._send, shard, declared))

    # ---- Kafka: in a thread of the shard

    def _start(self, shard: Shard, work: Callable[[], Answer]) -> None:
        def run() -> None:
            try:
                answer = work()
            except Exception as error:  # whatever it is, a new producer finds out what is out
                answer = Broken(error)
            shard.answered(answer)
            self.ring()

        shard.begun(time.monotonic())
        threading.Thread(target=run, name=f"trilho-relay-{shard.number}", daemon=True).start()

    def _open(self, shard: Shard, marks: Marks) -> Answer:
        self._senders.pop(shard, None)
        cluster = self.cluster.look_up()
        sender = self._senders[shard] = Sender(marks, shard.number, self.database.faults)
        return Opened(sender.open(), cluster)

    def _mark(self, shard: Shard) -> Answer:
        self._senders[shard].mark(shard.last)
        return Marked()

    def _send(self, shard: Shard, declared: list[Topic]) -> Answer:
        try:
            partitions = self.partitions.of({row[0] for row in shard.batch}, declared)
            self._senders[shard].send(shard.last, shard.batch, partitions)
        except KafkaRefused as error:
            if error.code not in FOR_GOOD:
                raise
            return Refused(error)
        except Aborted as error:
            return TakenBack(error)
        return Sent()
