"""A user's project in a folder of its own, and the `trilho` command in it as a user types it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.lab import processes
from tests.lab.poll import eventually
from trilho.embedded.ports import free_port

APPLICATION = """
import subprocess
from trilho import Trilho

app = Trilho("shop")

@app.task
def add(a, b):
    return a + b

@app.task
def fail():
    raise ValueError("no such thing")

@app.task
def child(seconds):
    subprocess.run(["sleep", str(seconds)], start_new_session=True)
"""

WEB = """
async def api(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""

UP_TIMEOUT = 50.0
DOWN_TIMEOUT = 40.0


@dataclass
class Project:
    """The project's folder; its `.trilho` is where the stack's data is."""

    folder: Path
    port: int = field(default_factory=free_port)

    @classmethod
    def create(cls, folder: Path) -> "Project":
        """Write the application's files."""
        folder.chmod(0o755)  # as people's folders are; a stricter one is opened with a warning
        (folder / "shop.py").write_text(APPLICATION)
        (folder / "web.py").write_text(WEB)
        return cls(folder)

    @property
    def mark(self) -> str:
        """What every process of this project carries in its environment."""
        return str(self.folder)

    def environment(self) -> dict[str, str]:
        """The environment of a shell in which nothing of Trilho is set."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "PYTEST_"))}
        return own | {processes.MARK: self.mark, "TRILHO_SHUTDOWN_GRACE": "5"}

    def trilho(self, *arguments: str, timeout: float = 45.0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "trilho.cli", *arguments],
            cwd=self.folder,
            env=self.environment() | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        done = self.trilho(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ps(self) -> dict[str, dict[str, Any]]:
        """The processes of the stack by name."""
        return {process["name"]: process for process in self.json("ps")}

    @contextmanager
    def up(self, *arguments: str, **variables: str) -> Iterator["Up"]:
        """A running `trilho up`; whatever of it is left afterwards is ended."""
        output = self.folder / "up.out"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "trilho.cli", "up", "-A", "shop", "--port", str(self.port), *arguments],
                cwd=self.folder,
                env=self.environment() | variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        stack = Up(process, output)
        try:
            stack.wait_for("everything is up")
            yield stack
        finally:
            stack.stop()
            processes.end(self.mark)


@dataclass
class Up:
    """One run of `trilho up`."""

    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    def wait_for(self, text: str, count: int = 1, timeout: float = UP_TIMEOUT) -> None:
        """Wait until it has printed this so many times."""

        def seen() -> bool:
            if self.text().count(text) >= count:
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.text()[-3000:]}"
            return False

        eventually(seen, timeout=timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(DOWN_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that still run."""
    return [pid for pid in pids if processes.is_alive(pid)]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    root = psutil.Process(pid)
    return [pid, *(child.pid for child in root.children(recursive=True))]
