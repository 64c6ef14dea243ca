"""What a table was measured on; no names of hosts or people."""

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version

import psutil
import psycopg
import redis

from bench.stand import Stand

LIBRARIES = ("trilho", "celery", "kombu", "redis", "psycopg", "SQLAlchemy")

BUSY = 0.25
"""Load per core from which on a table says that it is not to be quoted."""
LOAD, *_ = os.getloadavg()
"""As others made it, before this process has started any server."""


def describe(stand: Stand, names: Sequence[str] = LIBRARIES) -> list[str]:
    """Lines for the head of a table."""
    busy = LOAD / len(os.sched_getaffinity(0)) > BUSY
    load = f"load {LOAD:.1f} when it began{' (**busy: do not quote**)' if busy else ''}"
    libraries = "; ".join(f"{name} {version(name)}" for name in names)
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.release()} ({platform.machine()})"
    return [
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {_processor()}, {memory:.0f} GiB RAM, {load}  ",
        f"{system}; Python {platform.python_version()}; {libraries}  ",
        f"PostgreSQL {_postgres(stand)}; Valkey {_valkey(stand)}",
    ]


def _processor() -> str:
    usable = len(os.sched_getaffinity(0))
    return f"{usable} cores ({_model()})"


def _model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _postgres(stand: Stand) -> str:
    with psycopg.connect(stand.postgres.url()) as connection:
        row = connection.execute("SELECT split_part(current_setting('server_version'), ' ', 1)").fetchone()
    assert row is not None
    flush = _flush_milliseconds(stand)
    return f"{row[0]} (fsync on, a commit alone takes {flush:.2f} ms)"


def _flush_milliseconds(stand: Stand) -> float:
    """What a commit costs on this disk: the floor under everything durable."""
    with psycopg.connect(stand.postgres.url("bench"), autocommit=True) as connection:
        explained = []
        for _ in range(200):
            begun = datetime.now(timezone.utc)
            connection.execute("INSERT INTO orders (name) VALUES ('floor')")
            explained.append((datetime.now(timezone.utc) - begun).total_seconds())
    return 1000 * sorted(explained)[100]


def _valkey(stand: Stand) -> str:
    with redis.Redis.from_url(stand.valkey.url()) as client:
        return str(client.info("server")["valkey_version"])
