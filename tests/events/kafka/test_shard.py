"""What a shard of the relay concludes from answers; no server is asked."""

from hypothesis import given
from hypothesis import strategies as st

from trilho.errors import KafkaAway, KafkaRefused
from trilho.events.kafka.shard import FEW, HANGS, MANY, Broken, Fate, Opened, Refused, Sent, Shard, fate
from trilho.events.kafka.store import Recorded

NUMBERS = st.integers(0, 100)
REFUSED = Refused(KafkaRefused(10, "too large"))


@given(number=NUMBERS, committed=NUMBERS, waiting=st.integers(1, MANY))
def test_batch_is_out_exactly_when_kafka_knows_its_number(number: int, committed: int, waiting: int) -> None:
    found = fate(Opened(committed, "here"), Recorded(1, number, waiting, "here"))
    assert found is (Fate.OUT if committed >= number else Fate.NOT_OUT)


@given(number=NUMBERS, waiting=st.integers(1, MANY))
def test_absent_offset_is_not_zero(number: int, waiting: int) -> None:
    assert fate(Opened(None, "here"), Recorded(1, number, waiting, "here")) is Fate.IN_DOUBT


@given(number=NUMBERS, committed=NUMBERS | st.none())
def test_nothing_is_in_doubt_without_a_batch_or_in_another_cluster(number: int, committed: int | None) -> None:
    assert fate(Opened(committed, "here"), Recorded(1, number, 0, "here")) is Fate.NOT_OUT
    assert fate(Opened(committed, "here"), Recorded(1, number, 5, "elsewhere")) is Fate.NOT_OUT


def test_only_a_new_producer_knows_what_became_of_a_batch_after_trouble() -> None:
    assert fate(Broken(KafkaAway("away")), Recorded(1, 3, 5, "here")) is Fate.UNKNOWN


@given(refused=st.integers(0, MANY - 1), count=st.integers(1, MANY))
def test_refused_event_is_found_by_halving_and_nothing_else_is_buried(refused: int, count: int) -> None:
    """`count` events, one of which Kafka refuses."""
    shard, left, buried = Shard(0, known=(1, 0, False)), list(range(count)), []
    for _ in range(100):
        batch = left[: shard.limit]
        answer = REFUSED if refused in batch else Sent()
        record = Recorded(1, 1, len(batch), "here")
        found = fate(answer, record)
        shard.answered(answer)
        shard.settled(record, 0)
        if found is Fate.REFUSED:
            buried += batch
        left = left[len(batch) :] if found in {Fate.REFUSED, Fate.OUT} else left
        if not left:
            break
    assert left == []
    assert buried == ([refused] if refused < count else [])
    assert 1 <= shard.limit <= MANY


def test_batches_grow_with_a_backlog_and_shrink_without() -> None:
    shard = Shard(0, known=(1, 0, False))
    for size, limit in ((FEW, 4 * FEW), (4 * FEW, MANY), (MANY, MANY), (1, MANY // 2), (1, MANY // 4), (1, MANY // 8)):
        shard.answered(Sent())
        shard.settled(Recorded(1, 1, size, "here"), 0)
        assert shard.limit == limit


def test_shard_that_somebody_else_had_believes_nothing_any_more() -> None:
    shard = Shard(0, known=(4, 9, False))
    assert shard.believes(Recorded(4, 9, 0, None))
    assert not shard.believes(Recorded(6, 9, 0, None))
    assert not shard.believes(Recorded(4, 10, 3, "here"))
    shard.forget(retry_at=5.0)
    assert not shard.must_open(now=4.9)
    assert shard.must_open(now=5.0)
    assert not shard.may_choose(now=5.0)


def test_what_an_opening_found_counts_only_under_the_lease_that_it_began_under() -> None:
    shard = Shard(0, token=4)
    shard.answered(Opened(8, "here"))
    assert shard.believes(Recorded(4, 9, 3, "here"))
    assert not shard.believes(Recorded(6, 10, 3, "here"))


def test_nothing_is_chosen_before_kafka_was_told_the_last_number() -> None:
    shard = Shard(0)
    shard.answered(Opened(None, "here"))
    shard.settled(Recorded(1, 12, 0, None), 0)
    assert shard.must_mark(now=0.0)
    assert not shard.may_choose(now=0.0)
    shard.marked(now=0.0)
    assert shard.may_choose(now=1.0)


@given(number=NUMBERS, committed=NUMBERS)
def test_numbers_are_never_lower_than_those_of_kafka(number: int, committed: int) -> None:
    shard = Shard(0)
    shard.answered(Opened(committed, "here"))
    shard.settled(Recorded(1, number, 0, None), committed)
    shard.chosen([])
    assert shard.last == max(number, committed) + 1


@given(st.floats(0, 1e6), st.floats(0, 1e3))
def test_only_a_thread_that_takes_too_long_is_given_up(begun: float, seconds: float) -> None:
    shard = Shard(0)
    assert not shard.hangs(begun + seconds)
    shard.begun(begun)
    assert shard.hangs(begun + seconds) == (begun + seconds - begun >= HANGS)
    shard.answered(Sent())
    assert not shard.hangs(begun + seconds)
