"""A worker of the sagas."""

from collections.abc import Mapping

from bench.child import Child

PROCESSES = 2


def worker(environment: Mapping[str, str], name: str = "sagas") -> Child:
    """`celery worker`, prefork; says `ready` when it takes jobs."""
    command = ["celery", "-A", "bench.sagas.shop", "worker", "-n", f"{name}@%h", "-c", PROCESSES, "-l", "WARNING"]
    return Child(command, environment)
