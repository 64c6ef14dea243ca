"""The same no-op job on stock Celery and on Trilho: BENCH_STACK says which one workers and producers load."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from celery import Celery
from celery.signals import worker_ready

from trilho import Trilho

Stack = Literal["celery", "trilho"]
STACKS: tuple[Stack, ...] = get_args(Stack)
QUEUE = "celery"
TASK = "bench.nothing"
ARGUMENT_BYTES = 109


@dataclass(frozen=True)
class Place:
    """What one stack is connected to; Celery writes rows of its caller to the database, too."""

    stack: Stack
    database_url: str
    broker_url: str
    results_url: str

    def environment(self) -> dict[str, str]:
        """What `from_environment` reads."""
        return {
            "BENCH_STACK": self.stack,
            "BENCH_DATABASE": self.database_url,
            "BENCH_BROKER": self.broker_url,
            "BENCH_RESULTS": self.results_url,
        }

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Place":
        """The place that the parent process has chosen."""
        stack = STACKS[STACKS.index(variables["BENCH_STACK"])]
        return cls(stack, variables["BENCH_DATABASE"], variables["BENCH_BROKER"], variables["BENCH_RESULTS"])


def application(place: Place) -> Celery:
    """Celery with a Redis broker and Redis results and no other setting, or Trilho with none either."""
    if place.stack == "celery":
        app = Celery("bench", broker=place.broker_url, backend=place.results_url)
    else:
        app = Trilho("bench", broker=place.broker_url, database=place.database_url)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def nothing(order: str, details: dict[str, Any]) -> None:
        """Nothing: what is left is the price of the job itself."""

    return app


def arguments(number: int) -> tuple[str, dict[str, Any]]:
    """Arguments that are 109 bytes of JSON, as those of the peers in earlier measurements."""
    details = {"email": "ana.souza@example.com", "items": 3, "total": "1234.56", "note": "as soon as it can"}
    return f"order-{number:010d}", details


def _announce(**_: object) -> None:
    if path := os.environ.get("BENCH_READY"):
        Path(path).touch()


if "BENCH_STACK" in os.environ:
    worker_ready.connect(_announce)
    app = application(Place.from_environment(os.environ))
