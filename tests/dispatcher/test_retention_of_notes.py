"""Notes of the timeline go when the last of the jobs that they may speak of does, a batch at a time."""

import pytest

from tests.jobs.shop import Query
from tests.lab.database import Connection
from trilho.dispatcher import retention
from trilho.dispatcher.retention import SMALLEST, Retain, keeping
from trilho.settings import Settings

DAY = 86400.0


@pytest.mark.parametrize(("failure", "left"), [(30.0, 3), (None, 2), (3.0, 2)])
def test_notes_go_with_the_jobs_that_are_kept_the_longest(
    connection: Connection, query: Query, monkeypatch: pytest.MonkeyPatch, failure: float | None, left: int
) -> None:
    monkeypatch.setattr(retention, "REST", 0.0)
    put = """INSERT INTO trilho.timeline (operation, kind, id, name, at)
             SELECT 'op', 'event', 'e' || n, 'x', clock_timestamp() - %s * interval '1 day'
             FROM generate_series(1, %s) n"""
    for age, count in ((40, 3 * SMALLEST), (20, 1), (5, 1), (0, 1)):
        connection.execute(put, (age, count))
    kept = Settings(retention_success=7 * DAY, retention_failure=failure and failure * DAY)
    retain = Retain(keeping(kept))
    while retain(connection):
        pass
    assert query("SELECT count(*) FROM trilho.timeline") == [(left,)]


def test_what_is_kept_for_ever_keeps_its_notes(connection: Connection, query: Query) -> None:
    assert "timeline" not in {rule.page for rule in keeping(Settings(retention_success=None, retention_failure=None))}
