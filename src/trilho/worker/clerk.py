"""The clerk: writes for a worker's main process, in order, so that its event loop never waits for PostgreSQL."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from trilho.db.pool import LOST, Connection, Database
from trilho.log import get_logger

P = ParamSpec("P")

log = get_logger("trilho.clerk")

Errand = Callable[[Connection], object]


class Clerk:
    """Repeats each errand until PostgreSQL takes it; errands must bear repetition."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._errands: queue.Queue[Errand | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="trilho-clerk", daemon=True)
        self._gave_up = threading.Event()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, verb: Callable[Concatenate[Connection, P], object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a verb soon."""
        self._errands.put(lambda connection: verb(connection, *args, **kwargs))

    def finish(self, timeout: float) -> bool:
        """Work off what was submitted, at most `timeout` seconds; whether everything is written."""
        self._errands.put(None)
        self._thread.join(timeout)
        self._gave_up.set()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (errand := self._errands.get()) is not None:
            self._insist(errand)

    def _insist(self, errand: Errand) -> None:
        pause = 0.05
        while not self._gave_up.is_set():
            try:
                with self._database.connection() as connection:
                    errand(connection)
                return
            except LOST as error:
                log.warning("postgresql.away", error=str(error).strip(), retry_in=pause)
                time.sleep(pause)
                pause = min(1.0, pause * 2)
            except Exception:  # one errand that cannot be done must not stop the others: recovery will find its rows
                log.exception("errand.failed")
                return
