"""The embedded servers of a stack, as the supervisor runs them."""

from importlib.util import find_spec
from pathlib import Path

from trilho.cli import logs
from trilho.embedded import Kafka, Postgres, Valkey
from trilho.embedded.ports import taken
from trilho.embedded.server import Server
from trilho.errors import ConfigurationError


class ServerRunner:
    """An embedded server behind the interface of a supervised process."""

    def __init__(self, kind: str, server: Server) -> None:
        self.kind = kind
        self.name = kind
        self._server = server

    @property
    def pid(self) -> int | None:
        """The process id of the server while it runs."""
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether the server is alive."""
        return self._server.running

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or minus the signal that ended it."""
        return self._server.exit_code

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._server.start()

    def ask_to_stop(self) -> None:
        """Stop it and wait until it has."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL; PostgreSQL recovers at its next start."""
        self._server.kill()


def postgres(data: Path) -> Postgres:
    """The PostgreSQL of a stack, durable."""
    return Postgres(data / "postgres", log_file=logs.path_of(data, "postgres"))


def valkey(data: Path) -> Valkey:
    """The Valkey of a stack."""
    return Valkey(data / "valkey", log_file=logs.path_of(data, "valkey"), append_only=True)


def kafka(data: Path, port: int | None) -> Kafka:
    """The Kafka of a stack; without a port, on that of its last start."""
    return Kafka(data / "kafka", port=port, log_file=logs.path_of(data, "kafka"))


def check_kafka(port: int | None) -> None:
    """Raises ConfigurationError where a Kafka cannot be started, or not be used; fetches its files."""
    if find_spec("confluent_kafka") is None:
        raise ConfigurationError('events on Kafka need its client: pip install "trilho[kafka]"')
    if port is not None and taken(port):
        raise ConfigurationError(f"port {port} is in use: choose another for Kafka with --kafka-port")
    Kafka.require()
