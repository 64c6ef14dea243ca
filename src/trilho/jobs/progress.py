"""Progress of a running body, throttled so that a tight loop cannot flood the database."""

import threading
import time
from dataclasses import dataclass, field
from uuid import UUID

from trilho.db.pool import LOST, Database
from trilho.jobs import store
from trilho.log import get_logger

log = get_logger("trilho.progress")


@dataclass
class ProgressWriter:
    """Writes the first report at once, later ones at most every `interval` seconds; the last one is never left out."""

    database: Database
    interval: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _latest: tuple[str, UUID, str, str | None] | None = None
    _written_at: float = 0.0
    reported_at: float = 0.0

    def report(self, job_id: str, token: UUID, text: str, custom_state: str | None) -> None:
        """Take a report; writes it now or leaves it to `flush`."""
        self.reported_at = time.time()
        with self._lock:
            self._latest = (job_id, token, text, custom_state)
        self.flush()

    def flush(self) -> None:
        """Write the latest report if the pause since the last one was long enough."""
        with self._lock:
            if self._latest is None or time.monotonic() - self._written_at < self.interval:
                return
            latest, self._latest = self._latest, None
            self._written_at = time.monotonic()
        self._write(*latest)

    def end(self, job_id: str) -> str | None:
        """The body is over: the report that was not written yet, if any."""
        with self._lock:
            latest, self._latest = self._latest, None
            self._written_at = 0.0
        return latest[2] if latest is not None and latest[0] == job_id else None

    def _write(self, job_id: str, token: UUID, text: str, custom_state: str | None) -> None:
        try:
            self.database.run(store.changed, "report", id=job_id, token=token, progress=text, custom_state=custom_state)
        except LOST as error:  # progress is for eyes: a body must not fail for it
            log.warning("progress.not_written", job=job_id, error=str(error))
