"""The right to run a stack: its data folder and its port, one stack each."""

from typing import Self

from trilho.cli import logs
from trilho.cli.plan import Plan
from trilho.embedded import DataInUse
from trilho.embedded.folder import FolderLock
from trilho.embedded.ports import taken
from trilho.errors import ConfigurationError


class Occupation:
    """Holds the data folder of a plan; raises DataInUse, and ConfigurationError if the port of the API is taken."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = FolderLock(plan.data)

    def __enter__(self) -> Self:
        """Take the folder and lay it out."""
        data = self._plan.data
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._lock.acquire():
            raise DataInUse(
                f"{data} is in use by `trilho up` (process {self._lock.holder()}): "
                "stop that one, or choose another folder with --data"
            )
        if self._plan.api and taken(self._plan.port):
            self._lock.release()
            raise ConfigurationError(f"port {self._plan.port} is in use: choose another with --port")
        logs.folder(data).mkdir(mode=0o700, exist_ok=True)
        logs.set_aside(data)
        (data / ".gitignore").write_text("*\n")
        return self

    def __exit__(self, *_: object) -> None:
        """Let others have the folder."""
        self._lock.release()
