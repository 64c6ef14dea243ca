"""The hot statements stay on their indexes, whatever the statistics say: plans for a table with many rows."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.lab import database as databases
from tests.lab.database import Connection
from trilho.dispatcher.retention import SQL as RETENTION
from trilho.dispatcher.store import BEGINNING
from trilho.jobs import stats
from trilho.jobs.store import SQL
from trilho.processes.store import SQL as PROCESSES

MANY = 60_000
FILL = f"""
INSERT INTO trilho.jobs (
    id, task, queue, state, run_at, sent_at, sends, claim_token, worker, started_at, finished_at, priority)
SELECT 'job-' || lpad(n::text, 8, '0'), 'task-' || n % 5, 'queue-' || n % 3, s.state,
       clock_timestamp() - n * interval '1 ms', CASE WHEN n % 2 = 0 THEN clock_timestamp() - interval '1 minute' END, 1,
       CASE WHEN s.state = 'STARTED' THEN gen_random_uuid() END,
       CASE WHEN s.state = 'STARTED' THEN gen_random_uuid() END, clock_timestamp(),
       CASE WHEN s.state IN ('SUCCESS', 'FAILURE') THEN clock_timestamp() END, 0
FROM generate_series(1, {MANY}) n,
     LATERAL (SELECT (ARRAY['SUCCESS', 'SUCCESS', 'FAILURE', 'PENDING', 'PENDING', 'STARTED'])[n % 6 + 1] AS state) s
"""

TOKEN = str(uuid4())
ONE = json.dumps([{"id": "job-00000001", "token": TOKEN, "state": "SUCCESS", "crash": False, "presumed": False}])
AGAIN = json.dumps(
    [
        {
            "id": "job-00000001",
            "token": TOKEN,
            "state": "RETRY",
            "outcome": "RETRY",
            "delay": 0,
            "crash": False,
            "presumed": False,
            "held": False,
            "replace": False,
            "begun": True,
            "suspect": False,
        }
    ]
)
NEW = json.dumps(
    [
        {
            "id": "new",
            "task": "t",
            "queue": "q",
            "priority": 0,
            "held": False,
            "args": "[]",
            "kwargs": "{}",
            "headers": "{}",
            "retries": 0,
            "send": True,
        }
    ]
)

HOT: dict[str, dict[str, Any]] = {
    "enqueue": {"rows": NEW},
    "claim": {
        "ids": '["job-00000003", "job-00000009"]',
        "alone": False,
        "token": TOKEN,
        "worker": TOKEN,
        "worker_name": "w",
    },
    "unclaim": {"ids": '["job-00000005"]', "token": TOKEN},
    "seize": {"id": "job-00000003", "token": TOKEN},
    "finish": {"rows": ONE},
    "reschedule": {"rows": AGAIN},
    "settled": {"rows": ONE},
    "report": {"id": "job-00000005", "token": TOKEN, "progress": "1", "custom_state": None},
    "take_due": {
        "queues": ["queue-0", "queue-1"],
        "tasks": ["task-0", "task-1"],
        "limit": 10,
        "overdue": 0.0,
        "floor": BEGINNING,
    },
    "lose_all": {"queue": "queue-0", "grace": 5.0, "limit": 5000},
    "old_sent": {"grace": 5.0, "limit": 17},
    "lose_overtaken": {"grace": 5.0, "limit": 5000},
    "lock_running": {"workers": [TOKEN], "limit": 100},
    "running_tokens": {"workers": [TOKEN]},
    "cancel_requests": {"worker": TOKEN},
    "lock_claimed": {"ids": ["job-00000005"], "token": TOKEN},
    "resend": {"ids": ["job-00000003"]},
    "pass_on": {"ids": ["job-00000003"]},
    "await": {"ids": ["job-00000003"]},
    "states": {"ids": ["job-00000003"]},
    "meta": {"ids": ["job-00000003"]},
    "view": {"id": "job-00000003"},
    "cancel_running": {"id": "job-00000003"},
    "strays": {"worker": TOKEN, "known": [TOKEN]},
    "hold_again": {"ids": ["job-00000002"]},
    "unknown_task": {"id": "job-00000003", "reason": "x"},
    "forget": {"id": "job-00000001"},
    "attempts": {"id": "job-00000001"},
    "run_again": {"id": "job-00000002"},
    "seize_expired": {"token": TOKEN, "limit": 100},
}
PLACE = {"since": BEGINNING, "after": "job-00000500", "before": "job-1", "cutoff": BEGINNING, "limit": 1000}
WALKS: dict[str, tuple[dict[str, Any], str]] = {
    "jobs_by_id": (PLACE | {"states": ["SUCCESS"]}, "jobs_pkey"),
    "jobs_by_age": (PLACE | {"states": ["SUCCESS"]}, "jobs_other_ids"),
    "delete_jobs": ({"ids": ["job-00000001"], "states": ["SUCCESS"], "cutoff": BEGINNING}, "jobs_pkey"),
}


@pytest.fixture(scope="module")
def crowded(postgres_server: str, template: str) -> Iterator[Connection]:
    """A database with many jobs, whose statistics are up to date."""
    url = databases.create(postgres_server, template=template)
    with databases.connect(url) as connection:
        connection.execute(FILL)
        connection.execute("ANALYZE trilho.jobs")
        yield connection
    databases.drop(url)


def plan(connection: Connection, query: str, values: dict[str, Any], mode: str) -> str:
    """The plan of a prepared statement, as our connections keep it."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", query)))
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", query)
    literals = ", ".join(literal(connection, values[name]) for name in names)
    arguments = f"({literals})" if names else ""
    connection.execute(f"SET plan_cache_mode = force_{mode}_plan".encode())
    connection.execute(f"PREPARE looked_at AS {text.rstrip().rstrip(';')}".encode())
    try:
        rows = connection.execute(f"EXPLAIN EXECUTE looked_at {arguments}".encode()).fetchall()
    finally:
        connection.execute("DEALLOCATE looked_at")
    return "\n".join(row[0] for row in rows)


def literal(connection: Connection, value: Any) -> str:
    if isinstance(value, list):
        return "'{" + ",".join(str(item) for item in value) + "}'"
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


def scans_all(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.search(r"Seq Scan on jobs", line)]


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("name", HOT)
def test_hot_statement_never_reads_the_whole_table(crowded: Connection, name: str, mode: str) -> None:
    text = plan(crowded, SQL[name], HOT[name], mode)
    assert scans_all(text) == [], text


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("name", ["claim", "unclaim", "finish", "reschedule", "report", "settled", "seize", "view"])
def test_job_is_found_by_its_id_and_not_by_its_state(crowded: Connection, name: str, mode: str) -> None:
    """An old snapshot elsewhere fills the partial indexes with dead entries; the primary key does not mind."""
    text = plan(crowded, SQL[name], HOT[name], mode)
    assert "jobs_pkey" in text, text
    assert not re.search(r"jobs_(sent|unsent|running|failed)", text), text


@pytest.mark.parametrize("mode", ["generic", "custom"])
@pytest.mark.parametrize("name", WALKS)
def test_retention_walks_in_the_order_of_an_index(crowded: Connection, name: str, mode: str) -> None:
    values, index = WALKS[name]
    text = plan(crowded, RETENTION[name], values, mode)
    assert scans_all(text) == [], text
    assert f"using {index} on jobs" in text, text
    assert "Bitmap Heap Scan on jobs " not in text, text


@pytest.mark.parametrize("mode", ["generic", "custom"])
def test_expired_jobs_are_found_in_their_order(crowded: Connection, mode: str) -> None:
    assert "Index Scan using jobs_expiring" in plan(crowded, SQL["seize_expired"], HOT["seize_expired"], mode)


@pytest.mark.parametrize("mode", ["generic", "custom"])
def test_due_jobs_are_found_by_queue_and_task(crowded: Connection, mode: str) -> None:
    text = plan(crowded, SQL["take_due"], HOT["take_due"], mode)
    assert re.search(r"Index Scan using jobs_unsent", text), text
    assert "Sort Key: j.run_at" not in text.split("jobs_unsent", maxsplit=1)[-1], text


@pytest.mark.parametrize("mode", ["generic", "custom"])
def test_statements_of_leases_touch_no_job(crowded: Connection, mode: str) -> None:
    pulse = {
        "incarnation": TOKEN,
        "state": "running",
        "running": 0,
        "processed": 0,
        "dropped": 0,
        "finished": "{}",
        "queues": [],
        "last_progress": None,
    }
    text = plan(crowded, PROCESSES["renew"], pulse, mode)
    assert "jobs" not in text


def test_dead_owners_are_found_without_reading_finished_jobs(crowded: Connection) -> None:
    text = plan(crowded, PROCESSES["dead_with_jobs"], {"lease": 10.0}, "custom")
    assert scans_all(text) == [], text


def test_sample_reads_live_rows_only(crowded: Connection) -> None:
    crowded.execute("VACUUM (ANALYZE) trilho.jobs")
    text = plan(crowded, stats.SQL["sample"], {}, "custom")
    assert scans_all(text) == [], text


def test_statistics_read_no_job_but_failures(crowded: Connection) -> None:
    assert "on jobs" not in plan(crowded, stats.SQL["queues"], {}, "custom")
    assert "jobs_failed" in plan(crowded, stats.SQL["failures"], {}, "custom")


def test_page_of_the_newest_jobs_reads_the_head_of_the_primary_key(crowded: Connection) -> None:
    values = {"state": None, "queue": None, "task": None, "cursor": None, "limit": 51}
    text = plan(crowded, SQL["list"], values, "custom")
    assert "Index Scan Backward using jobs_pkey" in text, text
