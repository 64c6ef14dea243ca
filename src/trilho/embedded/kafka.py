"""An Apache Kafka broker from Maven Central, run as one Java process: a KRaft node that is its own controller."""

import socket
import struct
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trilho.embedded import maven
from trilho.embedded.ports import HOST, free_port, taken
from trilho.embedded.single import SingleProcess

VERSION = "4.4.0"
ARTEFACTS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3")
PROBE_TIMEOUT = 1.0

_NAME = f"kafka-{VERSION}"
_METADATA_REQUEST = struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0)
"""Size, Metadata, version 1, correlation 1, no client id, no topics."""
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    # One node cannot keep the three copies that the internal topics have by default.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Fifty partitions each, as a cluster has them, are hundreds of files to make and to recover.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker is let in again only when the session of its former life has ended, by default after 9 s.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "8388608",
}


class Kafka(SingleProcess):
    """Kafka on a loopback port, without a password; `options` are settings of the broker.

    What it has acknowledged survives its death, but not that of the machine: it leaves writing out to the system.
    """

    name = "Kafka"
    machine: Sequence[str] = ("-Xmx512m", "-XX:-UsePerfData")

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        outlive: bool = False,
    ) -> None:
        super().__init__(data, port=port, log_file=log_file, outlive=outlive)
        self._options = _SETTINGS | dict(options or {})
        self._logs = self.data / "logs"

    def url(self) -> str:
        """What clients call the bootstrap server: host and port."""
        return f"{HOST}:{self.port}"

    def was_at(self, url: str) -> bool:
        """Whether these are host and port of this broker at its last start, and nobody listens there now."""
        with suppress(OSError, ValueError):
            port = int(self._port_file.read_text())
            return url == f"{HOST}:{port}" and not taken(port)
        return False

    @staticmethod
    def fetched() -> bool:
        """Whether its files are on this machine already."""
        return maven.has(_NAME)

    @staticmethod
    def require() -> None:
        """Fetch its files where they are missing; raises ConfigurationError where Java or Maven is not installed."""
        maven.java()
        maven.jars(_NAME, *ARTEFACTS)

    def _executable(self) -> Path:
        return maven.java()

    def _prepare(self) -> None:
        self.require()
        (self.data / "tmp").mkdir(exist_ok=True)

    def _run(self, port: int) -> None:
        self._configure(port)
        # Kafka writes this file last, and in one step.
        if not (self._logs / "meta.properties").exists():
            self._format()
        super()._run(port)

    def _configure(self, port: int) -> None:
        controller = free_port()
        own = {
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "log.dirs": str(self._logs),
        }
        lines = [f"{name}={value}\n" for name, value in (self._options | own).items()]
        self._configuration.write_text("".join(lines))

    def _format(self) -> None:
        # Kafka takes no id that begins with a dash, which would be an option.
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        arguments = ["format", "--cluster-id", cluster, "--config", str(self._configuration)]
        self._make_data(self._java("kafka.tools.StorageTool", *arguments), self._logs, self.data)

    def _command(self, _port: int) -> list[str]:
        return self._java("kafka.Kafka", str(self._configuration))

    def _java(self, program: str, *arguments: str) -> list[str]:
        folder = f"-Djava.io.tmpdir={self.data / 'tmp'}"
        return [
            str(maven.java()),
            *self.machine,
            folder,
            "-cp",
            f"{maven.jars(_NAME, *ARTEFACTS)}/*",
            program,
            *arguments,
        ]

    @property
    def _configuration(self) -> Path:
        return self.data / "server.properties"

    def _accepts(self, port: int) -> bool:
        # An open port is not enough: a broker that its controller does not know yet names none in its metadata.
        with suppress(OSError), socket.create_connection((HOST, port), timeout=PROBE_TIMEOUT) as connection:
            connection.sendall(_METADATA_REQUEST)
            with connection.makefile("rb") as answer:
                head = answer.read(12)
            return len(head) == 12 and struct.unpack(">iii", head)[2] > 0
        return False
