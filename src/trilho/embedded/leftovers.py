"""Processes that a killed owner of a data folder left behind."""

import time
from contextlib import suppress
from pathlib import Path

import psutil

EXIT_TIMEOUT = 10.0
POLL = 0.02


def leftovers(folder: Path, program: str) -> list[psutil.Process]:
    """Living processes of a program of this name that work in exactly this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name() == program and Path(process.cwd()) == folder and alive(process):
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    """SIGKILL, then wait until they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + EXIT_TIMEOUT
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(POLL)


def alive(process: psutil.Process) -> bool:
    """Whether this very process (not a later one with its pid) still runs; a zombie does not."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
