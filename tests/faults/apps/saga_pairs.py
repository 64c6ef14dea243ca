"""What `celery -A tests.faults.apps.saga_pairs worker` loads: the id of a run names the two points at which the process
that it runs in is killed, one after the other."""

import os
import signal
from pathlib import Path

from tests.faults.apps.sagas import app
from tests.lab.ready import announce
from trilho.faults import Faults
from trilho.jobs import codec
from trilho.jobs.attempt import running
from trilho.sagas.store import MARK

STRUCK = "LAB_STRUCK"


def named(first: str, second: str) -> str:
    """The id of a run."""
    return f"{first}+{second}"


class Pairs(Faults):
    """Kills at the points that the runs name; a file says which strikes have been made."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._in_slice: set[str] = set()

    def hit(self, point: str) -> None:
        if point == "claim.before":
            self._in_slice.clear()
        if not point.startswith("saga."):
            return
        if (attempt := running()) is not None:
            runs = {str(codec.loads(attempt.job.headers)[MARK]).partition("/")[0]}
            self._in_slice |= runs
        else:  # the commit that ends what ran in this slice
            runs = self._in_slice
        for run in runs:
            self._strike(run, point)

    def _strike(self, run: str, point: str) -> None:
        for number, wanted in enumerate(run.split("+")):
            struck = self._folder / f"{run}.{number}"
            if not struck.exists():
                if wanted == point:
                    struck.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return


if STRUCK in os.environ:
    app.database.faults = Pairs(Path(os.environ[STRUCK]))
announce()
