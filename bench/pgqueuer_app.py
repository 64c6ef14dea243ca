"""Jobs that do nothing on PgQueuer: a backlog, and two processes that drain it.

`python -m bench.pgqueuer_app URL JOBS SIZE` prints how many it did a second, in batches of SIZE; `… URL SIZE` is one of
the processes.
"""

import asyncio
import subprocess
import sys
import time
from datetime import timedelta

import asyncpg
from pgqueuer import Queries, QueueManager
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from bench.tally import say

BATCH = 1000
PAYLOAD = b"x" * 109
PROCESSES = 2
ENDS = """
SELECT count(*), extract(epoch FROM max(created) - min(created))::float AS seconds
FROM pgqueuer_log WHERE status = 'successful'"""


async def fill(url: str, jobs: int) -> None:
    """An empty schema, and a backlog."""
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await queries.install()
    for start in range(0, jobs, BATCH):
        payloads = [PAYLOAD] * min(BATCH, jobs - start)
        await queries.enqueue(["nothing"] * len(payloads), payloads, [0] * len(payloads))
    await connection.close()


async def drain(url: str, size: int) -> None:
    """One process, until nothing is left."""
    connection = await asyncpg.connect(url)
    queues = QueueManager(Queries(AsyncpgDriver(connection)))

    @queues.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        """Nothing: what is left is the price of the job itself."""

    sys.stdin.readline()
    await queues.run(batch_size=size, mode=QueueExecutionMode.drain, log_aggregation_interval=timedelta(0))
    await connection.close()


async def ends(url: str) -> tuple[int, float]:
    """How many jobs ended, and the seconds from the first end to the last, by what PgQueuer wrote down."""
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(ENDS)
    await connection.close()
    return row["count"], row["seconds"]


def main(url: str, jobs: int, size: int) -> None:
    """All processes begin at once, with their connections open."""
    asyncio.run(fill(url, jobs))
    command = [sys.executable, "-m", "bench.pgqueuer_app", url, str(size)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    time.sleep(1.0)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    done, seconds = asyncio.run(ends(url))
    assert done == jobs
    say({"rate": (jobs - 1) / seconds})


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    if len(numbers) > 1:
        main(url, *map(int, numbers))
    else:
        asyncio.run(drain(url, int(numbers[0])))
