"""Looking at many jobs at once, for those who wait for their next change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.rows import dict_row

from trilho.db.pool import Connection
from trilho.jobs.job import Job
from trilho.jobs.store import SQL

UNSEEN = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one job; `job` and `version` are None where there is none."""

    id: str
    version: str | None
    job: Job | None


def changes(connection: Connection, seen: Mapping[str, str]) -> list[Change]:
    """Those jobs whose rows differ from the versions in `seen`, UNSEEN at first; in one statement."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["changed"], {"ids": list(seen), "seen": list(seen.values())}).fetchall()
    return [_change(row.pop("watched"), row.pop("version"), row) for row in rows]


def _change(job_id: str, version: str | None, row: Mapping[str, object]) -> Change:
    return Change(job_id, version, None if version is None else Job.from_row(row))


def announce(connection: Connection, ids: Sequence[str]) -> None:
    """Have the ends of these jobs announced to who listens."""
    connection.execute(SQL["announce"], {"ids": list(ids)})
