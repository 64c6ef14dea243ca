"""A thousand clients that follow a thousand jobs as server-sent events of one API process.

`python -m bench.streams [--clients N] [--jobs N]`, on a machine that does nothing else.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import psutil
import psycopg

from bench.figures import quantile
from bench.remote import ROOT, plain_environment
from bench.stand import stand
from trilho.embedded.ports import free_port

START_TIMEOUT = 60.0
IDLE = 10.0
WAITING = "INSERT INTO trilho.jobs (id, task, queue) VALUES (%s, 'bench.unknown', 'celery')"
FINISH = """UPDATE trilho.jobs j SET state = 'SUCCESS', result = '7', finished_at = clock_timestamp()
WHERE id = ANY(%s) RETURNING CASE WHEN awaited THEN pg_notify('trilho_done', id) END"""


async def last_event(port: int, job_id: str, opened: asyncio.Semaphore) -> float:
    """Seconds from the end of the job to the arrival of the event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /tasks/{job_id}/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    delay = 0.0
    while line := await reader.readline():
        if line.startswith(b"data: "):
            now, document = time.time(), json.loads(line[6:])
            if document["finished_at"] is None:
                opened.release()
            else:
                delay = now - datetime.fromisoformat(document["finished_at"]).timestamp()
    writer.close()
    return delay


def sent(url: str, count: int) -> list[str]:
    """The ids of jobs that nobody works on."""
    ids = [f"stream-{number}" for number in range(count)]
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(WAITING, [(i,) for i in ids])
    return ids


async def finish(url: str, ids: list[str], batch: int = 10) -> None:
    """End the jobs as workers do: a few in each commit."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for start in range(0, len(ids), batch):
            await connection.execute(FINISH, (ids[start : start + batch],))
            await asyncio.sleep(0.02)


async def follow(url: str, port: int, ids: list[str], clients: int, api: psutil.Process) -> dict[str, float]:
    """All figures of one run."""
    before, opened, begin = api.memory_info().rss, asyncio.Semaphore(0), time.monotonic()
    streams = [asyncio.create_task(last_event(port, ids[n % len(ids)], opened)) for n in range(clients)]
    for _ in range(clients):
        await opened.acquire()
    opening, rss = time.monotonic() - begin, api.memory_info().rss
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        row = connection.execute(query).fetchone()
    busy = sum(api.cpu_times()[:2])
    await asyncio.sleep(IDLE)
    idle = (sum(api.cpu_times()[:2]) - busy) / IDLE
    busy = sum(api.cpu_times()[:2])
    await finish(url, ids)
    delays = sorted(await asyncio.gather(*streams))
    return {
        "clients": clients,
        "jobs": len(ids),
        "seconds to open all": opening,
        "connections to PostgreSQL": float(row[0]) if row else 0,
        "MB of the API before": before / 1e6,
        "MB of the API with all streams": rss / 1e6,
        "share of one core while nothing happens": idle,
        "core seconds for all ends": sum(api.cpu_times()[:2]) - busy,
        "ms from end to event, p50": quantile(delays, 0.5) * 1000,
        "ms from end to event, p99": quantile(delays, 0.99) * 1000,
    }


@contextmanager
def api_of(url: str, broker: str) -> Iterator[tuple[int, psutil.Process]]:
    """`loja.web:api` in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "loja.web:api", "--port", str(port), "--log-level", "warning"]
    environment = plain_environment() | {"TRILHO_DATABASE_URL": url, "TRILHO_BROKER_URL": broker}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        deadline = time.monotonic() + START_TIMEOUT
        api = psutil.Process(process.pid)
        while not any(c.laddr.port == port for c in api.net_connections()) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield port, api
        process.terminate()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1000)
    options = parser.parse_args()
    with stand() as servers:
        url = servers.create_database("streams")
        ids = sent(url, options.jobs)
        with api_of(url, servers.valkey.url(2)) as (port, api):
            figures = asyncio.run(follow(url, port, ids, options.clients, api))
    for name, value in figures.items():
        print(f"{name:45} {value:10.2f}")


if __name__ == "__main__":
    main()
