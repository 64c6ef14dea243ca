"""How far groups are, decided from what PostgreSQL says and what the log knows."""

from hypothesis import given
from hypothesis import strategies as st

from trilho.events.log_admin import LogGroup
from trilho.events.progress import Counts, Progress, completed, group_of, lag_of

TOPICS = ("orders", "payments", "gone")
IDENTITIES = {"orders": "kafka:c:1", "payments": "kafka:c:2"}

places = st.tuples(st.sampled_from(TOPICS), st.integers(0, 3))
offsets = st.integers(0, 100)
rows = st.dictionaries(
    st.tuples(st.sampled_from(["kafka:c:1", "kafka:c:2", "kafka:c:old"]), places), offsets, max_size=12
).map(lambda told: [Progress("g", log, *place, offset) for (log, place), offset in told.items()])


@given(rows, st.dictionaries(places, offsets))
def test_postgresqls_offset_counts_and_the_logs_only_where_there_is_none(
    ours: list[Progress], committed: dict[tuple[str, int], int]
) -> None:
    found = {row.place: row for row in completed(ours, {"g": LogGroup(committed=committed)}, IDENTITIES)}
    present = {row.place: row.offset for row in ours if IDENTITIES.get(row.topic) == row.log}
    assert {place: row.offset for place, row in found.items()} == {
        place: offset for place, offset in committed.items() if place[0] in IDENTITIES
    } | present
    assert all(row.log == IDENTITIES[row.topic] for row in found.values())


@given(offsets, offsets)
def test_lag_is_never_below_zero_and_names_the_foreign_reader_where_ours_is_none(offset: int, end: int) -> None:
    known = LogGroup(readers={("orders", 0): "billing"})
    row = Progress("g", IDENTITIES["orders"], "orders", 0, offset)
    lag = lag_of(row, "kafka", end, known)
    assert (lag.lag, lag.member) == (max(0, end - offset), "billing")
    whole = group_of("g", [lag], known, Counts(members=2), foreign=False)
    assert (whole.lag, whole.members, whole.state) == (lag.lag, 2, "STABLE")
