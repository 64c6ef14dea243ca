"""Alembic's entry: the connection is handed over by `trilho.db.migrate`, which holds the lock and the transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], version_table="migrations", version_table_schema="trilho"
)
context.run_migrations()
