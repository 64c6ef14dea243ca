"""The buffer of a partition against a plain list: nothing skipped, nothing twice, whatever is sought and repeated."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from trilho.events.kafka.buffer import MOST, Buffer


@dataclass
class Fake:
    """A message, as far as a buffer looks at it."""

    at: int

    def offset(self) -> int:
        return self.at

    def __len__(self) -> int:
        return 10


def offsets(buffer: Buffer, offset: int, limit: int = 1000) -> list[int] | None:
    found = buffer.read(offset, limit)
    return None if found is None else [message.offset() or 0 for message in found]


@given(
    there=st.sets(st.integers(0, 200), min_size=1),
    fetches=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=30),
    batch=st.integers(1, 20),
)
def test_reader_sees_each_offset_once_in_order_however_often_it_is_fetched(
    there: set[int], fetches: list[tuple[int, int]], batch: int
) -> None:
    log, buffer = sorted(there), Buffer(0, 1)
    seen: list[int] = []
    at = 0
    for repeated, count in fetches:
        begin = min(repeated, buffer.end)  # what comes is contiguous, and may have come before
        buffer.add([Fake(offset) for offset in log if offset >= begin][:count])  # type: ignore[misc]
        got = offsets(buffer, at, batch)
        assert got is not None
        assert offsets(buffer, at, batch) == got  # a batch that failed is there again
        seen += got
        at = got[-1] + 1 if got else at
        buffer.done(at)
    assert seen == [offset for offset in log if offset < at]


def test_what_was_asked_for_before_a_seek_is_dropped_and_a_newer_seek_is_kept() -> None:
    buffer = Buffer(5, 1)
    buffer.add([Fake(5), Fake(6)])  # type: ignore[list-item]
    assert offsets(buffer, 3) is None
    buffer.begin_at(3)
    buffer.add([Fake(7)])  # type: ignore[list-item]
    assert offsets(buffer, 3) == []
    buffer.begin_at(2)
    buffer.sought(3)
    assert buffer.seek_to == 2
    buffer.sought(2)
    buffer.add([Fake(2), Fake(3)])  # type: ignore[list-item]
    assert offsets(buffer, 2) == [2, 3]


def test_full_buffer_is_low_again_only_at_half() -> None:
    buffer = Buffer(0, 1)
    buffer.add([Fake(offset) for offset in range(MOST)])  # type: ignore[misc]
    assert buffer.is_full
    buffer.done(MOST // 4)
    assert not buffer.is_low
    buffer.done(MOST // 2)
    assert buffer.is_low
    assert not buffer.is_full
