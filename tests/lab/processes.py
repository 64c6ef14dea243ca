"""Find and end processes by a mark in their environment, which every descendant inherits, however it detached."""

import os
import signal
from contextlib import suppress

import psutil

MARK = "TRILHO_LAB_MARK"


def marked(mark: str) -> list[psutil.Process]:
    """Every live process that carries the mark."""
    return [process for process in psutil.process_iter() if _mark_of(process) == mark]


def end(mark: str, *, timeout: float = 10.0) -> None:
    """SIGKILL to all that carry the mark, stopped ones too; AssertionError if one is left after `timeout` seconds."""
    left: list[psutil.Process] = marked(mark)
    rounds = 0
    while left and rounds < 20:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=timeout / 20)
        left, rounds = marked(mark), rounds + 1
    assert not left, f"cannot end {left}"


def signal_all(mark: str, number: signal.Signals) -> None:
    """One signal to all that carry the mark."""
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def is_alive(pid: int) -> bool:
    """Whether a process with this pid runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _mark_of(process: psutil.Process) -> str | None:
    if process.pid == os.getpid():
        return None
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
