"""A saga of four no-op steps on Trilho, and who starts it.

`python -m bench.sagas.shop run COUNT THREADS` waits for each and prints how many a second; `start COUNT` does not wait.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from celery.signals import worker_ready

from bench.sagas import WARM_UP
from bench.tally import say
from trilho import Saga, Trilho

PATIENCE = 60.0

app = Trilho("bench")


def step(number: int) -> int:
    """Nothing: what is left is the price of a step."""
    return number + 1


@app.saga
async def trip(saga: Saga, number: int) -> int:
    """Four steps, inline."""
    for _ in range(4):
        number = await saga.step(step, number)
    return number


def run(count: int, threads: int) -> None:
    """Each is started and waited for; the clock runs when all processes are warm."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_one, range(WARM_UP)))
        begun = time.perf_counter()
        results = list(pool.map(_one, range(count)))
    say({"rate": count / (time.perf_counter() - begun)})
    assert results == [number + 4 for number in range(count)]


def start(count: int) -> None:
    """All in one commit."""
    with app.transaction():
        for number in range(count):
            trip.start(number)
    app.pipe.flush()  # who asked ends this process, and wake-ups that are lost come seconds later
    say({"started": time.monotonic()})


def _one(number: int) -> int:
    return trip.start(number).get(timeout=PATIENCE)


def _announce(**_: object) -> None:
    say({"ready": True})


worker_ready.connect(_announce)

if __name__ == "__main__":
    {"run": run, "start": start}[sys.argv[1]](*map(int, sys.argv[2:]))
