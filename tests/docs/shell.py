"""A reader of the documentation: a folder, a stack that runs in it, and a shell next to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cli.project import Up
from tests.lab import processes
from trilho.embedded.ports import free_port

DOCUMENTED_PORT = "localhost:8000"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Shell:
    """Commands as they stand in a page, but for the port."""

    folder: Path
    port: int
    variables: dict[str, str]

    @property
    def url(self) -> str:
        """Where the API of the stack answers."""
        return f"http://localhost:{self.port}"

    def run(self, script: str, timeout: float = 60.0) -> str:
        """What the script prints; AssertionError if one of its commands fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace(DOCUMENTED_PORT, f"localhost:{self.port}")],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """That of a shell in which nothing of Trilho is set, with the virtual environment active."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "LOJA_", "PYTEST_"))
        }
        return own | {"PATH": f"{BIN}:{own['PATH']}", processes.MARK: str(self.folder)} | self.variables


@contextmanager
def running(folder: Path, *arguments: str, **variables: str) -> Iterator[Shell]:
    """`trilho up` with these arguments, and a shell beside it; nothing of the stack is left afterwards."""
    folder.chmod(0o755)  # as people's folders are: PostgreSQL run by root must pass through
    shell = Shell(folder, free_port(), variables)
    output = folder / "up.out"
    with output.open("w") as file:
        process = subprocess.Popen(
            [str(BIN / "trilho"), "up", *arguments, "--port", str(shell.port)],
            cwd=folder,
            env=shell.environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    up = Up(process, output)
    try:
        up.wait_for("everything is up")
        yield shell
    finally:
        up.stop()
        processes.end(str(folder))
