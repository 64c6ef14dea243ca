"""The libraries that Trilho is compared with, in a virtual environment of their own below `.venv`."""

import re
import subprocess
import sys
from pathlib import Path

from bench.notes import note
from bench.remote import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".venv" / "peers"
PYTHON = FOLDER / "bin" / "python"
_STAMP = FOLDER / "installed"


class NoPeers(Exception):
    """They cannot be had here, in one line."""


def python() -> Path:
    """An interpreter that has the peers, installed at the first use; raises NoPeers."""
    wanted = REQUIREMENTS.read_text()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return PYTHON
    note("installing the peers; this happens once")
    _run([sys.executable, "-m", "venv", str(FOLDER)])
    _run([str(PYTHON), "-m", "pip", "install", "-q", "-r", str(REQUIREMENTS)])
    _STAMP.write_text(wanted)
    return PYTHON


def version(name: str) -> str:
    """The version that is asked for."""
    found = re.search(rf"^{name}\S*==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoPeers(lines[-1])
