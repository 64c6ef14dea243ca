"""A private RabbitMQ node from the system package, with one virtual host per test process."""

import json
import os
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

from kombu.connection import Connection

from tests.lab import processes
from tests.lab.poll import eventually

SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USER = "rabbitmq"
VIRTUAL_HOSTS = 16


class RabbitMQ:
    """One node on free ports; `start` after `kill` finds its durable queues again."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._mark = f"rabbitmq-{uuid.uuid4()}"
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._distribution_port, self._epmd_port = _free_ports(3)

    @staticmethod
    def installed() -> bool:
        """Whether the system package is there."""
        return SCRIPT.exists()

    def url(self, virtual_host: int = 0) -> str:
        """Broker URL of one of the prepared virtual hosts."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/v{virtual_host}"

    def start(self) -> None:
        """Start the node and wait until it accepts clients (about 7 s); does nothing while it runs."""
        if self._process is not None:
            return
        account = self._account()
        self._prepare(account)
        with (self._data / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [SCRIPT], env=self._environment(), stdout=log, stderr=log, cwd="/", user=account, group=account
            )
        eventually(self._answers, timeout=60, every=0.2)

    def kill(self) -> None:
        """SIGKILL, as the OOM killer does; also ends the node's port mapper."""
        processes.end(self._mark)
        if self._process is not None:
            self._process.wait()
            self._process = None

    stop = kill

    def _prepare(self, account: str | None) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        (self._data / "definitions.json").write_text(json.dumps(_definitions()))
        (self._data / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"load_definitions = {self._data / 'definitions.json'}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        )
        if account is not None:
            for path in (self._data, *self._data.iterdir()):
                shutil.chown(path, account, account)

    @staticmethod
    def _account() -> str | None:
        """The package's user, whom the data must belong to when root starts the node."""
        return USER if os.geteuid() == 0 else None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._data),
            "RABBITMQ_NODENAME": f"lab{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_MNESIA_BASE": str(self._data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._data / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self._data / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._data / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            processes.MARK: self._mark,
        }

    def _answers(self) -> bool:
        try:
            with Connection(self.url(VIRTUAL_HOSTS - 1), connect_timeout=2) as connection:
                connection.connect()
        except Exception:
            return False
        return True


def _definitions() -> dict[str, object]:
    hosts = [f"v{number}" for number in range(VIRTUAL_HOSTS)]
    everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
        "vhosts": [{"name": name} for name in hosts],
        "permissions": [{"vhost": name, **everything} for name in hosts],
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
