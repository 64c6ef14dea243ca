"""Statements that were prepared on an empty table do not read all of a larger one."""

import psycopg

from tests.lab.poll import eventually
from trilho.dispatcher.plans import LEAST_ROWS, analyse_grown

FILL = """INSERT INTO trilho.jobs (id, task, queue)
SELECT 'job-' || n, 'shop.work', 'celery' FROM generate_series(%s::int, %s) n"""
LOOK = "SELECT state FROM trilho.jobs WHERE id = ANY($1)"


def plan(connection: "psycopg.Connection[tuple[object, ...]]") -> str:
    return "\n".join(str(line) for (line,) in connection.execute("EXPLAIN EXECUTE look ('{job-7}')"))


def test_plan_on_an_empty_table_is_made_anew_once_the_table_has_grown(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(FILL, (1, 5))
        connection.execute("ANALYZE trilho.jobs")
        connection.execute(f"PREPARE look (text[]) AS {LOOK}".encode())
        assert "Seq Scan" in plan(connection)
        connection.execute(FILL, (6, 20 * LEAST_ROWS))
        assert "Seq Scan" in plan(connection)
        assert "jobs" in eventually(lambda: analyse_grown(connection))
        assert "jobs_pkey" in plan(connection)
        assert "jobs" not in analyse_grown(connection)


def test_table_that_has_not_grown_is_left_alone(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL, (1, LEAST_ROWS - 1))
        connection.execute("SELECT pg_stat_force_next_flush()")
        assert analyse_grown(connection) == []


def test_rows_that_come_and_go_are_not_counted_again_and_again(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL, (1, 2 * LEAST_ROWS))
        connection.execute("DELETE FROM trilho.jobs")
        connection.execute("SELECT pg_stat_force_next_flush()")
        assert analyse_grown(connection) == []


def test_dead_rows_that_would_be_read_each_time_are_counted(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL, (1, 20 * LEAST_ROWS))
        connection.execute("DELETE FROM trilho.jobs")
        assert "jobs" in analyse_grown(connection)
        assert "jobs" not in analyse_grown(connection)
