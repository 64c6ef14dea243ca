"""Bring the `trilho` schema, and what the application adds to it, to the version of this code."""

from collections.abc import Callable, Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from trilho.db.pool import Connection, Database
from trilho.db.sessions import driver_connection

MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 7_406_230_571  # any number, but the same in every process


def migrate(database: Database, then: Sequence[Callable[[Connection], None]] = ()) -> None:
    """Upgrade in one transaction, then call `then` in it; processes that migrate at the same time take turns."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with database.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS trilho"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for step in then:
            step(driver_connection(connection))
