"""Every partition of the PostgreSQL log is read by one member, of those who read its topic."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from trilho.events.assignment import dealt

TOPICS = ("a", "b", "c")
NAMES = st.frozensets(st.sampled_from(TOPICS))


@given(
    st.dictionaries(st.integers(0, 50).map(lambda n: UUID(int=n)), st.none() | NAMES, max_size=6),
    st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 9)),
)
def test_each_partition_goes_to_one_member_that_reads_its_topic(
    members: dict[UUID, frozenset[str] | None], topics: dict[str, int]
) -> None:
    shares = {me: dealt(members, topics, me) for me in members}
    lanes = [(topic, n) for share in shares.values() for topic, numbers in share.items() for n in numbers]
    read = [t for t in topics if any(names is None or t in names for names in members.values())]
    assert sorted(lanes) == sorted((topic, n) for topic in read for n in range(topics[topic]))
    for me, share in shares.items():
        names = members[me]
        assert names is None or set(share) <= names


@given(st.integers(1, 5), st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 9)))
def test_members_that_read_the_same_have_the_same_number_or_one_less(count: int, topics: dict[str, int]) -> None:
    members = {UUID(int=n): TOPICS for n in range(count)}
    loads = [sum(map(len, dealt(members, topics, me).values())) for me in members]
    assert max(loads) - min(loads) <= 1


def test_who_is_no_member_gets_nothing() -> None:
    assert dealt({UUID(int=1): None}, {"a": 2}, UUID(int=2)) == {}
