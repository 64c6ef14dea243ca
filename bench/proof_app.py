"""The shop that is run on Celery and on Trilho: an order is saved, then charged in the background.

The only difference is how a job is declared and enqueued. `PROOF_STACK` chooses; workers load `app`.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from celery import Celery
from tests.lab.ledger import Ledger
from tests.lab.ready import announce

from trilho import Trilho, Tx

SCHEMA = """
CREATE TABLE orders (key text PRIMARY KEY, saved_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE charges (key text NOT NULL, charged_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
SAVE = "INSERT INTO orders (key) VALUES (%s)"
CHARGE = "INSERT INTO charges (key) VALUES (%s)"

LONGEST_JOB = 3.0
VISIBILITY_TIMEOUT = 8
SAFEST: Mapping[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_transport_options": {
        # Must be longer than the longest job, or that runs twice without any fault.
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
}


@dataclass(frozen=True)
class Shop:
    """One way to run the shop: the application that workers load, and what a request does."""

    app: Celery
    order: Callable[[str, float], None]


def on_celery(**settings: Any) -> Shop:
    """As most projects do it: save, then `.delay()`."""
    app = Celery("shop", broker=os.environ["PROOF_BROKER"])
    app.conf.update(settings)

    @app.task(name="shop.charge", bind=True)
    def charge(self: Any, key: str, seconds: float) -> None:
        with psycopg.connect(os.environ["PROOF_DATABASE"]) as connection:
            connection.execute(CHARGE, (key,))
            time.sleep(seconds)
        _completed(key)

    def order(key: str, seconds: float) -> None:
        with psycopg.connect(os.environ["PROOF_DATABASE"]) as connection:
            connection.execute(SAVE, (key,))
        charge.delay(key, seconds)

    return Shop(app, order)


def on_trilho() -> Shop:
    """Saved and enqueued by one commit; charged and finished by one commit."""
    app = Trilho("shop", broker=os.environ["PROOF_BROKER"], database=os.environ["PROOF_DATABASE"])

    @app.task(name="shop.charge", transactional=True)
    def charge(key: str, seconds: float, *, tx: Tx) -> None:
        tx.connection.execute(CHARGE, (key,))
        time.sleep(seconds)
        _completed(key)

    def order(key: str, seconds: float) -> None:
        with app.transaction() as tx:
            tx.connection.execute(SAVE, (key,))
            charge.delay(key, seconds)

    return Shop(app, order)


def _completed(key: str) -> None:
    Ledger(os.environ["PROOF_LEDGER"]).write(key, "done", 1, os.getpid())


STACKS: Mapping[str, Callable[[], Shop]] = {
    "Celery, defaults": on_celery,
    "Celery, safest settings": lambda: on_celery(**SAFEST),
    "Trilho": on_trilho,
}

if "PROOF_STACK" in os.environ:
    announce()
    shop = STACKS[os.environ["PROOF_STACK"]]()
    app = shop.app
