"""The drain of PgQueuer, the fastest of the queues that keep their jobs in PostgreSQL, on the same server."""

from collections.abc import Iterator

import psycopg

from bench import peers
from bench.child import ask
from bench.figures import Rounds
from bench.measure import TIMES
from bench.stand import Stand
from bench.table import compact, factor, markdown, number
from bench.visit import Load

NAME = "pgqueuer"
ASKED = 1.0
DEFAULT = 10
BATCHES = {DEFAULT: "PgQueuer, all defaults (`batch_size=10`)", 100: "PgQueuer, `batch_size=100`"}
LONG = 4
"""Times our backlog: its jobs end in batches, of which there must be many."""

HOW = """\
- PgQueuer {version}: two processes, `async def` jobs that do nothing, a backlog of {jobs:,}; from the end of the first
  job to the end of the last by its own log. It deletes what is done, and keeps neither results nor attempts."""


def how(load: Load) -> str:
    """What one has to know to read the table."""
    return HOW.format(version=peers.version(NAME), jobs=LONG * load.backlog)


def stack(size: int) -> str:
    """Its name among the rounds."""
    return f"{NAME}/{size}"


def visit(stand: Stand, load: Load, rounds: Rounds) -> None:
    """One round."""
    with psycopg.connect(stand.postgres.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME}")
        connection.execute(f"CREATE DATABASE {NAME}")
    for size in BATCHES:
        told = ask(["bench.pgqueuer_app", stand.postgres.url(NAME), LONG * load.backlog, size], python=peers.python())
        rounds.add(stack(size), {"drain": told["rate"]})


def table(rounds: Rounds) -> list[str]:
    """Its drain beside ours with task events off."""
    return markdown(("drain [jobs/s]", "PgQueuer", "Trilho / PgQueuer", "asked"), list(_rows(rounds)))


def _rows(rounds: Rounds) -> Iterator[tuple[str, ...]]:
    for size, title in BATCHES.items():
        rates, ratio = rounds.summary(stack(size), "drain"), rounds.ratio("drain", theirs=stack(size))
        assert rates is not None
        assert ratio is not None
        asked = "" if size != DEFAULT else f"≥ {ASKED:g}{TIMES}" + ("" if ratio.median >= ASKED else ", **missed**")
        yield title, compact(rates, number), f"**{factor(ratio.median)}**", asked
