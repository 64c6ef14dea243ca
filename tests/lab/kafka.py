"""A Kafka broker of a test's own, which may be killed, frozen and started again on the same port and data."""

from pathlib import Path

from trilho.embedded import Kafka
from trilho.errors import ConfigurationError

_OPTIONS = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Members that die, and handlers that take too long, show sooner.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
}


class KafkaServer(Kafka):
    """`start`, `kill` (SIGKILL), `pause` (SIGSTOP), `resume` (SIGCONT), `stop` (orderly), `restart`."""

    # Without its second compiler it starts with little more than half of the work.
    machine = (*Kafka.machine, "-XX:TieredStopAtLevel=1")

    def __init__(self, data: Path) -> None:
        super().__init__(data, options=_OPTIONS)

    @staticmethod
    def lack() -> str | None:
        """Why there can be no broker on this machine; None if there can."""
        try:
            Kafka.require()
        except ConfigurationError as error:
            return str(error)
        return None

    def bootstrap(self) -> str:
        """Host and port, by the name that Kafka's clients have for it."""
        return self.url()

    def restart(self) -> None:
        """Kill it and start it again at once (about 4 s)."""
        self.kill()
        self.start()
