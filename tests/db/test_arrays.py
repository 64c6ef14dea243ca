"""Arrays that are written by hand are read as what they were."""

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trilho.db import arrays

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
SAME_DATABASE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


@SAME_DATABASE
@given(
    texts=st.lists(st.none() | TEXT | st.sampled_from(["NULL", "", "{}", '"', "\\", " ", ",", "é"])),
    whole=st.lists(st.integers(-(2**63), 2**63 - 1)),
    parts=st.lists(st.floats(allow_nan=False)),
)
def test_postgresql_reads_what_was_written(
    database: str, texts: list[str | None], whole: list[int], parts: list[float]
) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT %s::text[], %s::bigint[], %s::float8[]",
            (arrays.texts(texts), arrays.numbers(whole), arrays.numbers(parts)),
        ).fetchone()
    assert row == (texts, whole, parts)
