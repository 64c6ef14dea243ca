"""A program that writes a row and enqueues a job in one transaction, or a job alone, and may be killed while it does.

`python -m tests.faults.apps.producer KEY [alone | stream]`; a stream is jobs alone, one after the other.
"""

import os
import sys

from sqlalchemy import text

from tests.faults.apps.application import build
from tests.faults.apps.bodies import ledger


def main(key: str, alone: bool) -> None:
    """Write down `asked`, commit row and job, write down `acked`."""
    app = build()
    ledger().write(key, "asked", 1, os.getpid())
    if alone:
        app.tasks["lab.record"].delay(key)
    else:
        with app.transaction() as tx:
            tx.session.execute(text("UPDATE counters SET value = value + 1 WHERE name = 'a'"))
            app.tasks["lab.record"].delay(key)
    ledger().write(key, "acked", 1, os.getpid())


def stream(key: str) -> None:
    """So many that a wake-up is sure to travel ahead of its commit."""
    task = build().tasks["lab.record"]
    for number in range(500):
        task.delay(f"{key}-{number}")


if __name__ == "__main__":
    stream(sys.argv[1]) if "stream" in sys.argv[2:] else main(sys.argv[1], alone="alone" in sys.argv[2:])
