"""CPU time by group of processes, so that a figure says where the time goes."""

from collections.abc import Mapping

import psutil

from bench.stand import Stand
from bench.worker import Worker

GROUPS = {
    "caller": "caller",
    "main": "worker, main process",
    "pool": "worker, pool processes",
    "postgres": "PostgreSQL",
    "valkey": "Valkey",
}


def server_seconds(stand: Stand) -> dict[str, float]:
    """CPU seconds that our own servers have used so far; PostgreSQL with its children, ended ones too."""
    assert stand.postgres.pid is not None
    assert stand.valkey.pid is not None
    postmaster, valkey = psutil.Process(stand.postgres.pid), psutil.Process(stand.valkey.pid)
    ended = postmaster.cpu_times()
    alive = sum(map(seconds, postmaster.children(recursive=True)))
    return {
        "postgres": seconds(postmaster) + ended.children_user + ended.children_system + alive,
        "valkey": seconds(valkey),
    }


def worker_seconds(worker: Worker) -> dict[str, float]:
    """CPU seconds that a worker has used so far."""
    main = psutil.Process(worker.pid)
    return {"main": seconds(main), "pool": sum(map(seconds, main.children(recursive=True)))}


def seconds(process: psutil.Process) -> float:
    """User and system time of one process; 0 if it has just ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def per_job(before: Mapping[str, float], after: Mapping[str, float], jobs: int) -> dict[str, float]:
    """Microseconds per job of each group."""
    return {group: max(0.0, after[group] - before[group]) * 1e6 / jobs for group in after}
