"""A worker of the sagas."""

from collections.abc import Mapping

from bench.child import Child

AT_ONCE = 8
POOLS = {"prefork": ("-c", 2), "threads": ("-P", "threads", "-c", AT_ONCE)}


def worker(environment: Mapping[str, str], name: str = "sagas", pool: str = "prefork") -> Child:
    """`celery worker`; says `ready` when it takes jobs."""
    command = ["celery", "-A", "bench.sagas.shop", "worker", "-n", f"{name}@%h", "-l", "WARNING", *POOLS[pool]]
    return Child(command, environment)
