"""Rows of one transaction: one for each id, or an error."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.rows import new
from trilho import DuplicateJob
from trilho.jobs.enqueue import merged
from trilho.jobs.job import NewJob

ids = st.sampled_from("abc")
jobs = st.builds(new, ids, args=st.sampled_from(["[1]", "[2]"]), held=st.booleans())


@given(st.lists(jobs, max_size=8))
def test_every_id_is_written_once_and_no_turn_is_lost(rows: list[NewJob]) -> None:
    contents: dict[str, set[str]] = {}
    for row in rows:
        contents.setdefault(row.id, set()).update([] if row.held else [row.args])
    conflict = any(len(texts) > 1 for texts in contents.values())
    try:
        result = merged(rows)
    except DuplicateJob:
        assert conflict
        return
    assert not conflict
    assert [row.id for row in result] == sorted(contents)
    for row in result:
        assert row.held == (not contents[row.id])
        if not row.held:
            assert {row.args} == contents[row.id]


@given(st.lists(jobs, max_size=5))
def test_input_is_left_alone(rows: list[NewJob]) -> None:
    before = list(rows)
    with suppress(DuplicateJob):
        merged(rows)
    assert rows == before
