"""What age costs a drain: beside history, beside a deep queue, and while a session is idle in a transaction."""

import statistics
from collections.abc import Iterator, Mapping

import psycopg

from bench.apps import Place
from bench.depth import FINISHED, WAITING
from bench.ends import ends_of
from bench.idle import idle_in_transaction
from bench.remote import RemoteCaller
from bench.stand import Stand, clear
from bench.table import factor, markdown, number
from bench.visit import Load, warmed, work_off
from bench.worker import Worker

WAITING_ROWS = 1_000_000
CHURN = 60_000
"""Jobs that pass while a session is idle in a transaction: ten minutes at a hundred per second."""

ASKED = {"finished": 0.95, "waiting": 0.95, "idle": 0.8}


def measure(stand: Stand, finished: int, load: Load) -> list[str]:
    """A table of jobs per second, in turns, with the ratios to an empty table."""
    titles = {
        "empty": "empty table",
        "finished": f"{finished:,} finished jobs",
        "waiting": f"{WAITING_ROWS:,} waiting jobs of a task that no worker has",
        "idle": f"a session idle in a transaction since {CHURN:,} jobs ended",
    }
    places = {name: _place(stand, name) for name in titles}
    _insert(places["finished"], FINISHED, finished)
    _insert(places["waiting"], WAITING, WAITING_ROWS)
    rates: dict[str, list[float]] = {name: [] for name in titles}
    with idle_in_transaction(places["idle"].database_url):
        _drain(places["idle"], CHURN)
        for _ in range(load.rounds):
            clear(places["empty"])
            for name, place in places.items():
                rates[name].append(_drain(place, load.backlog))
    return markdown(("Trilho's drain, jobs/s", "median", "ratio", "asked"), list(_lines(titles, rates)))


def _lines(titles: Mapping[str, str], rates: Mapping[str, list[float]]) -> Iterator[tuple[str, ...]]:
    for name, title in titles.items():
        ratio = statistics.median(own / empty for own, empty in zip(rates[name], rates["empty"], strict=True))
        asked = ASKED.get(name, 0.0)
        wanted = f"≥ {asked:g}" + ("" if ratio >= asked else ", **missed**") if asked else ""
        yield title, number(statistics.median(rates[name])), factor(ratio), wanted


def _place(stand: Stand, name: str) -> Place:
    stand.create_database(f"bench_{name}")
    return stand.place("trilho", f"bench_{name}")


def _insert(place: Place, statement: str, rows: int) -> None:
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute(statement.encode(), {"rows": rows})
        connection.execute("VACUUM ANALYZE trilho.jobs")


def _drain(place: Place, jobs: int) -> float:
    ends = ends_of(place)
    with RemoteCaller(place) as caller, Worker(place):
        warmed(caller, ends, jobs)
        return work_off(caller, ends, jobs)
