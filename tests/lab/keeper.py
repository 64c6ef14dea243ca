"""A process that keeps one server for a whole test session, shared by its parallel workers, and ends it afterwards.

`python -m tests.lab.keeper KIND ANSWER OWNER`: the URL, or the reason why there is none, is written into the file
ANSWER; the server lives as long as the process OWNER, however that one ends.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tests.lab.kafka import KafkaServer
from tests.lab.processes import is_alive
from tests.lab.rabbitmq import RabbitMQ
from tests.lab.servers import scratch
from trilho.embedded import Postgres, Valkey

SAFE_FROM_KILLS = {"fsync": "off", "full_page_writes": "off", "max_connections": "400"}
"""Fast, and still durable when the server is killed; only a power cut would hurt."""
FAST = SAFE_FROM_KILLS | {"synchronous_commit": "off"}


class Server(Protocol):
    """What every kind of server can do."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def url(self) -> str: ...


KINDS: Mapping[str, Callable[[Path], Server]] = {
    "postgres": lambda data: Postgres(data, options=FAST),
    "valkey": lambda data: Valkey(data),
    "rabbitmq": RabbitMQ,
    "kafka": KafkaServer,
}


def keep(kind: str, answer: Path, owner: int) -> None:
    """Run the server until `owner` is gone."""
    with scratch() as folder:
        server = KINDS[kind](folder)
        try:
            server.start()
            tell(answer, url=server.url())
            while is_alive(owner):
                time.sleep(0.2)
        except Exception as error:
            tell(answer, error=f"{type(error).__name__}: {error}")
        finally:
            server.stop()


def tell(answer: Path, **facts: str) -> None:
    """Write the facts in one piece, so that no reader sees half of them."""
    draft = answer.with_suffix(".draft")
    draft.write_text(json.dumps(facts))
    draft.rename(answer)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # the test process that asked does not wait for a child as long as the session
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
