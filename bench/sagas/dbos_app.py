"""A workflow of four no-op steps on DBOS.

`python -m bench.sagas.dbos_app URL COUNT THREADS` prints how many it did a second.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

from bench.sagas import WARM_UP
from bench.tally import say


@DBOS.step()
def step(number: int) -> int:
    """Nothing: what is left is the price of a step."""
    return number + 1


@DBOS.workflow()
def trip(number: int) -> int:
    """Four steps, inline."""
    for _ in range(4):
        number = step(number)
    return number


def main(url: str, count: int, threads: int) -> None:
    """Workflows run where they are called."""
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(trip, range(WARM_UP)))
        begun = time.perf_counter()
        results = list(pool.map(trip, range(count)))
    say({"rate": count / (time.perf_counter() - begun)})
    assert results == [number + 4 for number in range(count)]
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
