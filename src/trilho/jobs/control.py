"""Remote control: a revoke is written to the rows first, so that it outlives every worker."""

from typing import TYPE_CHECKING, Any

from celery.app.control import Control
from celery.utils.functional import maybe_list

from trilho.errors import TrilhoError
from trilho.log import get_logger

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.control")


class RowControl(Control):  # type: ignore[misc]
    """`app.control` and `AsyncResult.revoke()`."""

    app: "Trilho"

    def revoke(self, task_id: Any, destination: Any = None, terminate: bool = False, **options: Any) -> Any:
        """Revoke waiting jobs; with `terminate`, end running ones too. Workers are told as well, for plain messages."""
        for job_id in maybe_list(task_id):
            try:
                if not self.app.jobs.cancel_if_waiting(job_id) and terminate:
                    self.app.jobs.cancel(job_id)
            except TrilhoError as error:
                log.info("revoke.nothing_to_do", job=job_id, reason=str(error))
        try:
            with self.app.connect_impatiently() as connection:
                options.setdefault("connection", connection)
                return super().revoke(task_id, destination=destination, terminate=terminate, **options)
        except Exception as error:  # whatever the broker's client raises: the rows are written
            log.warning("broker.away", error=repr(error))
            return None
