"""The folder of caught mail: one `.eml` file for each message, of which a reader sees all or nothing."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uuid_utils

FOLDER = "mail"
"""Where it lies in a data folder."""
SUFFIX = ".eml"
KEPT = 1000

_UNFINISHED = ".receiving-"


@dataclass(frozen=True)
class Mailbox:
    """Keeps the newest `kept` messages."""

    folder: Path
    kept: int = KEPT

    def open(self) -> None:
        """Make the folder, and remove what a killed catcher had begun to write."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)

    def store(self, content: bytes) -> str:
        """Keep a message and drop the oldest beyond the bound; it is on the disk when this returns its id.

        Ids are UUIDv7: they sort by the time of arrival. Raises OSError.
        """
        name = str(uuid_utils.uuid7())
        handle, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(unfinished).rename(self.folder / f"{name}{SUFFIX}")
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
            raise
        self._sync_names()
        self._drop_the_oldest()
        return name

    def _sync_names(self) -> None:
        # A rename is durable when the folder is written out, not when the file is.
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _drop_the_oldest(self) -> None:
        for path in sorted(self.folder.glob(f"*{SUFFIX}"))[: -self.kept]:
            path.unlink(missing_ok=True)
