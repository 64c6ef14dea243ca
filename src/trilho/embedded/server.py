"""What all servers have in common as children of this process."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trilho.embedded import leash
from trilho.embedded.files import generated_secret
from trilho.embedded.folder import FolderLock
from trilho.embedded.ports import free_port, taken
from trilho.errors import TrilhoError

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
PORT_ATTEMPTS = 5
POLL = 0.02


class DataInUse(TrilhoError):
    """A living process owns this data folder; stop it, or choose another folder."""


class ServerFailed(TrilhoError):
    """A server did not start; the message carries the end of its log."""


@dataclass(frozen=True)
class Account:
    """The operating system user that a server runs as; -1 keeps the present one."""

    uid: int = -1
    gid: int = -1


class Server(ABC):
    """One server process on a loopback port, with its own data folder and log file.

    The server ends when the thread that called `start` ends, unless `outlive` is set: start it from a main thread.
    """

    name: str
    death_signal: signal.Signals

    def __init__(
        self, data: Path, *, port: int | None = None, log_file: Path | None = None, outlive: bool = False
    ) -> None:
        self.data = data.absolute()
        self.port = port
        self.log_file = log_file or self.data / "server.log"
        self._port_file = self.data / "port"
        self._outlive = outlive
        self._account = Account()
        self._lock = FolderLock(self.data)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the server while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the server process is alive; a paused one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the server ended by itself: its exit code, or minus the signal that killed it."""
        return self._process.poll() if self._process is not None else None

    @abstractmethod
    def url(self) -> str:
        """Where clients connect, with the password where there is one."""

    def was_at(self, url: str) -> bool:
        """Whether a URL is that of this server at its last start: a shell may have it from then."""
        parts = urlsplit(url)
        try:
            return parts.port == int(self._port_file.read_text()) and parts.password == self._password()
        except (OSError, ValueError):
            return False

    def start(self) -> None:
        """Start and wait until connections are accepted; does nothing while it runs.

        Raises DataInUse, ServerFailed, and ConfigurationError where its program is missing.
        """
        if self.running:
            return
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._lock.acquire():
            raise DataInUse(f"{self.data} is in use by the process {self._lock.holder()}: a {self.name} runs in it")
        try:
            self._prepare()
            self._end_leftovers()
            self._start_on_a_port()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server in an orderly way and give the data folder free; harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the server and all its children, as a crash would; the data folder stays ours."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self._end_leftovers()

    @abstractmethod
    def _executable(self) -> Path: ...

    @abstractmethod
    def _working_folder(self) -> Path: ...

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _command(self, port: int) -> list[str]: ...

    @abstractmethod
    def _accepts(self, port: int) -> bool: ...

    def _password(self) -> str:
        return generated_secret(self.data / "password")

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _start_on_a_port(self) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = self.port or self._last_port() or free_port()
            try:
                self._run(port)
            except ServerFailed:
                if self.port or attempt == PORT_ATTEMPTS or not taken(port):
                    raise
            else:
                self.port = port
                self._port_file.write_text(str(port))
                return

    def _last_port(self) -> int | None:
        # The port of the last time, if it is free: what other shells were told stays true.
        with suppress(OSError, ValueError):
            port = int(self._port_file.read_text())
            return None if taken(port) else port
        return None

    def _run(self, port: int) -> None:
        with self.log_file.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603
                self._leashed(self._command(port)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._working_folder(),
                env=dict(self._environment()),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._accepts(port):
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} did not start on port {port}: {self._log_tail(log_start)}")
            time.sleep(POLL)

    def _make_data(self, program: list[str], folder: Path, working_folder: Path) -> None:
        """Run the program that makes a data folder to its end; raises ServerFailed with what it said last."""
        done = subprocess.run(  # noqa: S603
            self._leashed(program),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=working_folder,
            env=dict(self._environment()),
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"{self.name} could not make its data folder {folder}: {done.stderr.strip()[-500:]}")

    def _leashed(self, program: list[str]) -> list[str]:
        signal_number = 0 if self._outlive else int(self.death_signal)
        return leash.command(os.getpid(), signal_number, self._account.uid, self._account.gid, program)

    def _log_tail(self, start: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines[-6:] if line.strip()) or f"see {self.log_file}"

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
            self.kill()
        self._lock.release()

    def _end_leftovers(self) -> None:
        """End what a killed owner, or a server that was killed from outside, left running in the data folder."""
        # psutil comes with the extra; who only asks whether a folder is in use must do without it.
        from trilho.embedded.leftovers import end, leftovers  # noqa: PLC0415

        folder, program = self._working_folder(), self._executable().name
        end(leftovers(folder, program))
        if left := leftovers(folder, program):
            raise ServerFailed(f"{self.name} cannot be started: process {left[0].pid} of an earlier run does not end")
