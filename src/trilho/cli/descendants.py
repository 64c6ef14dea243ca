"""What descends from a stack that runs, or ran, in a data folder: found by marks that only descendants carry."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from trilho.cli import logs
from trilho.cli.program import MARK

_APPENDING = "a"


def descendants(data: Path) -> list[psutil.Process]:
    """All living processes that a stack in this folder started, directly or not, except this one."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _descends(process, data)]


def _descends(process: psutil.Process, data: Path) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get(MARK) == str(data) or _appends_to_logs(process, logs.folder(data))
    return False


def _appends_to_logs(process: psutil.Process, folder: Path) -> bool:
    # Programs that set their title overwrite their environment; what they write to stays.
    return any(
        Path(file.path).parent == folder and getattr(file, "mode", "").startswith(_APPENDING)
        for file in process.open_files()
    )
