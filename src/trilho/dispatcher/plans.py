"""Plans that keep up with tables: what was prepared on an empty table reads all of a larger one, for each job.

PostgreSQL keeps the plan of a prepared statement until the table is analysed, which autovacuum does within minutes.
Here a table is analysed as soon as it is several times as large as it was, so that the first minute is like the others.
"""

from psycopg import sql

from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.log import get_logger

log = get_logger("trilho.dispatcher")
SQL = beside(__file__, "plans.sql")

EVERY = 1.0
"""Seconds: PostgreSQL's own counters are no fresher."""
LEAST_ROWS = 500
LEAST_BYTES = 500_000
"""Below which it does not matter how a table is read."""
GROWTH = 4


def analyse_grown(connection: Connection) -> list[str]:
    """Analyse the tables of Trilho that have outgrown their statistics; returns which."""
    values = {"rows": LEAST_ROWS, "bytes": LEAST_BYTES, "growth": GROWTH}
    grown = [row[0] for row in connection.execute(SQL["grown"], values)]
    for table in grown:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier("trilho", table)))
        log.debug("table.analysed", table=table)
    return grown
