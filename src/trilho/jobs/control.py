"""Remote control: a revoke is written to the rows first, so that it outlives every worker."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery.app.control import Control
from celery.utils.functional import maybe_list

from trilho.errors import TrilhoError
from trilho.log import get_logger

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.control")

WRITTEN = "trilho_written"
"""Argument of a broadcast revoke: the rows have it already, so a worker that hears of it late writes nothing."""


class RowControl(Control):  # type: ignore[misc]
    """`app.control`, `AsyncResult.revoke()`, and what `celery control` and Flower send."""

    app: "Trilho"

    def revoke(self, task_id: Any, destination: Any = None, terminate: bool = False, **options: Any) -> Any:
        """Revoke waiting jobs; with `terminate`, end running ones too. A broker that is away changes nothing."""
        ids = self._write(task_id, terminate)
        options[WRITTEN] = True
        try:
            with self.app.connect_impatiently() as connection:
                options.setdefault("connection", connection)
                return super().revoke(ids, destination=destination, terminate=terminate, **options)
        except Exception as error:  # whatever the broker's client raises: the rows are written
            log.warning("broker.away", error=repr(error))
            return None

    def broadcast(self, command: str, arguments: Any = None, **options: Any) -> Any:
        """As Celery's; `celery control revoke` and `terminate` come here with nothing written."""
        if command in ("revoke", "terminate") and not options.get(WRITTEN):
            asked = dict(arguments or {})
            asked["task_id"] = self._write(asked.get("task_id"), command == "terminate" or asked.get("terminate"))
            arguments, options[WRITTEN] = asked, True
        return super().broadcast(command, arguments=arguments, **options)

    def purge(self, connection: Any = None) -> int:
        """Delete the messages of the broker; no job is deleted, for the rows stay and are announced again."""
        count: int = super().purge(connection)
        log.warning("purge.messages_only", messages=count, hint="waiting jobs stay: `trilho jobs cancel` ends them")
        return count

    discard_all = purge

    def _write(self, task_id: Any, terminate: Any) -> Sequence[str]:
        ids = [str(each) for each in maybe_list(task_id) or ()]
        for job_id in ids:
            try:
                if not self.app.jobs.cancel_if_waiting(job_id) and terminate:
                    self.app.jobs.cancel(job_id)
            except TrilhoError as error:
                log.info("revoke.nothing_to_do", job=job_id, reason=str(error))
        return ids
