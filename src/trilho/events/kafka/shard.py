"""One shard of the relay into Kafka: what is known of it, and what follows from an answer. Decides; does nothing."""

from dataclasses import dataclass, field
from enum import Enum

from trilho.errors import KafkaRefused
from trilho.events.kafka.store import Recorded, Row

FEW, MANY = 500, 5000
"""Events of a batch: at first, and at most, when there is a backlog."""
AWAY = 0.5
"""Seconds before a shard whose producer broke is tried again."""
SOON = 0.1
"""Seconds before a batch that was taken back is tried again."""
HANGS = 30.0
"""Seconds after which a thread is given up. All limits of its calls together are shorter, but librdkafka 2.16 forgets
them where the coordinator goes away (confluentinc/librdkafka#5511)."""
RENEW = 6 * 3600.0
"""Seconds after which the number of a shard without events is written again: Kafka forgets it after some days."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A producer is ready, every former one is fenced off, and this is the last number that is out; None: no offset."""

    committed: int | None
    cluster: str


@dataclass(frozen=True, slots=True)
class Marked:
    """Kafka has written the last number again."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Kafka has committed the batch."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The batch was aborted, because Kafka will never take one of its events."""

    error: KafkaRefused


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The batch was aborted, and may be taken next time."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Broken:
    """Nobody knows what became of the batch; the producer is of no use any more."""

    error: Exception


Answer = Opened | Marked | Sent | Refused | TakenBack | Broken


class Fate(Enum):
    """What became of a batch that is recorded."""

    OUT = "Kafka has it"
    NOT_OUT = "Kafka has nothing of it, and the fence sees to it that it stays so"
    REFUSED = "Kafka will never take its one event"
    IN_DOUBT = "the offset that would tell is gone"
    UNKNOWN = "a new producer has to ask"


def fate(answer: Answer, recorded: Recorded) -> Fate:
    """What became of the batch."""
    match answer:
        case Sent():
            return Fate.OUT
        case Refused():
            return Fate.REFUSED if recorded.waiting == 1 else Fate.NOT_OUT
        case Broken():
            return Fate.UNKNOWN
        case Opened(committed, cluster) if recorded.waiting and recorded.cluster == cluster:
            return _found(committed, recorded.number)
    return Fate.NOT_OUT


def _found(committed: int | None, number: int) -> Fate:
    """By the offset. That there is none is not zero: Kafka drops offsets that nobody renews for days, and those of a
    deleted topic. A batch is only chosen after its shard's offset was written, so without one it may be out or not."""
    if committed is None:
        return Fate.IN_DOUBT
    return Fate.OUT if committed >= number else Fate.NOT_OUT


@dataclass(eq=False)
class Shard:
    """Our side of a shard. `known` is what `shards` must say as long as nobody else had it; None: nothing is known."""

    number: int
    token: int | None = None  # under which its producer is opened: what that finds counts as long as the lease does
    known: tuple[int, int, bool] | None = None
    busy: bool = False  # a thread works on it
    busy_since: float = 0.0
    answer: Answer | None = None  # what that thread came to
    limit: int = FEW
    retry_at: float = 0.0
    mark_at: float = 0.0  # before anything is chosen after that time, Kafka has to be told the last number
    refusing: bool = False  # Kafka has refused something since it last took a batch
    batch: list[Row] = field(default_factory=list)

    def believes(self, recorded: Recorded) -> bool:
        """Whether nobody has touched the shard but us. A commit whose answer got lost counts as somebody else's."""
        return self.token == recorded.token if self.known is None else self.known == recorded.known

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.busy and self.answer is None

    def hangs(self, now: float) -> bool:
        """Whether its thread will hardly come to an end; a new producer takes away from it whatever it may still do."""
        return self.busy and now - self.busy_since >= HANGS

    def must_open(self, now: float) -> bool:
        """Whether a new producer has to ask Kafka where we are."""
        return self.idle and self.known is None and now >= self.retry_at

    def must_mark(self, now: float) -> bool:
        """Whether Kafka has to be told the last number, before a batch is chosen whose fate depends on it."""
        return self.idle and self.known is not None and now >= self.mark_at

    def may_choose(self, now: float) -> bool:
        """Whether a batch may be chosen."""
        return self.idle and self.known is not None and not self.known[2] and self.retry_at <= now < self.mark_at

    @property
    def last(self) -> int:
        """The last number given."""
        return self.known[1] if self.known is not None else 0

    @property
    def has_batch(self) -> bool:
        """Whether a batch was chosen that no thread has in hand."""
        return self.idle and self.known is not None and self.known[2]

    def forget(self, retry_at: float) -> None:
        """Know nothing, and ask Kafka again at that time."""
        self.known, self.answer, self.retry_at, self.mark_at, self.batch = None, None, retry_at, 0.0, []

    def distrust(self) -> None:
        """What was written last may be there or not."""
        if not self.busy:
            self.forget(0.0)

    def settled(self, recorded: Recorded, committed: int) -> None:
        """No batch is under way."""
        if self.answer is not None:
            self._resize(self.answer, recorded.waiting)
            self.refusing = isinstance(self.answer, Refused) or (self.refusing and not isinstance(self.answer, Sent))
        self.known, self.answer = (recorded.token, max(recorded.number, committed), False), None
        self.batch = []

    def marked(self, now: float) -> None:
        """Kafka has just written the last number."""
        self.mark_at = now + RENEW

    def _resize(self, answer: Answer, size: int) -> None:
        """Half as large after a refusal, down to the one event that is refused; after trouble, too, for a line may be
        slow. Larger after a full batch."""
        if isinstance(answer, (Refused, TakenBack)):
            self.limit = max(1, size // 2)
        elif isinstance(answer, Sent) and size >= self.limit:
            self.limit = min(MANY, self.limit * 4)
        elif isinstance(answer, Sent) and self.limit > FEW:
            self.limit = max(FEW, self.limit // 2)

    def chosen(self, batch: list[Row]) -> None:
        """A batch was recorded under the next number."""
        token, number, _ = self.known or (0, 0, False)
        self.known, self.batch = (token, number + 1, True), batch

    def begun(self, now: float) -> None:
        """A thread has begun."""
        self.busy, self.busy_since = True, now

    def answered(self, answer: Answer) -> None:
        """The thread has ended; says what it came to."""
        self.answer = answer
        self.busy = False
