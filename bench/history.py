"""Does history cost anything? The drain in a database full of finished jobs against that in an empty one."""

import statistics

import psycopg

from bench.apps import Place
from bench.depth import FINISHED
from bench.ends import ends_of
from bench.figures import Summary
from bench.remote import RemoteCaller
from bench.stand import Stand, clear
from bench.table import factor, markdown, number
from bench.visit import WARM_UP, Load, fill, work_off
from bench.worker import Worker

FULL = "bench_full"


def measure(stand: Stand, rows: int, load: Load) -> list[str]:
    """A table of jobs per second, in turns, with the ratio full / empty."""
    stand.create_database(FULL)
    places = {"empty": stand.place("trilho"), "full": stand.place("trilho", FULL)}
    with psycopg.connect(places["full"].database_url, autocommit=True) as connection:
        connection.execute(FINISHED, {"rows": rows})
        connection.execute("VACUUM ANALYZE trilho.jobs")
    rates: dict[str, list[float]] = {"empty": [], "full": []}
    for _ in range(load.rounds):
        clear(places["empty"])
        for name, place in places.items():
            rates[name].append(_drain(place, load.jobs))
    ratio = statistics.median(full / empty for full, empty in zip(rates["full"], rates["empty"], strict=True))
    empty, full = (number(Summary.of(rates[name]).median) for name in ("empty", "full"))
    return markdown(
        ("Trilho's drain, jobs/s", "empty table", f"{rows:,} finished jobs", "ratio"),
        [("median", empty, full, f"**{factor(ratio)}**")],
    )


def _drain(place: Place, jobs: int) -> float:
    ends = ends_of(place)
    with RemoteCaller(place) as caller, Worker(place):
        fill(caller, ends, WARM_UP)
        work_off(caller, ends, WARM_UP)
        fill(caller, ends, jobs)
        return work_off(caller, ends, jobs)
