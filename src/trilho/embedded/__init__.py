"""Real servers, run as children of this process: for `trilho up`, tests and benchmarks."""

from trilho.embedded.kafka import Kafka
from trilho.embedded.postgres import Postgres
from trilho.embedded.server import DataInUse, ServerFailed
from trilho.embedded.valkey import Valkey

__all__ = ["DataInUse", "Kafka", "Postgres", "ServerFailed", "Valkey"]
