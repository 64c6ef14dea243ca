"""One frozen Settings object. No other file reads the environment."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from trilho.errors import ConfigurationError

STACK_FILE = "stack.json"
"""What `trilho up` leaves in its data folder, so that other shells can join the stack."""
_OF_A_STACK = ("database_url", "broker_url", "smtp_url", "kafka_bootstrap")


Kept = Annotated[float | None, BeforeValidator(lambda told: None if told == "never" else told)]
"""Seconds, or None for ever; the environment says `never`."""
Told = Annotated[str | None, BeforeValidator(lambda told: told or None)]
"""A text, or None; the environment says nothing by an empty one."""


class Settings(BaseSettings):
    """Settings of one application; each field is read from `TRILHO_<NAME>`. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="TRILHO_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: str | None = Field(default=None, repr=False)
    broker_url: str | None = Field(default=None, repr=False)
    listen_url: str | None = Field(
        default=None,
        repr=False,
        description="Direct URL for LISTEN where database_url goes through a pooler; 'off' polls only.",
    )
    smtp_url: str | None = Field(
        default=None,
        repr=False,
        description="Where the application sends its mail: smtp[s]://[user:password@]host[:port]",
    )
    kafka_bootstrap: Told = Field(
        default=None, description="Kafka's host:port[,host:port]; events go there instead of the PostgreSQL log."
    )
    kafka_options: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="JSON: settings of librdkafka, such as those of SASL and TLS."
    )
    kafka_group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="How members share partitions: 'consumer' is KIP-848, for Kafka 4."
    )
    data: Path = Path(".trilho")

    pool_size: int = Field(default=10, ge=1, description="Most connections of one process.")
    prepared_statements: bool = Field(default=True, description="Off for poolers that cannot keep them.")
    connect_timeout: float = Field(default=5.0, gt=0)

    lease: float = Field(default=10.0, gt=0, description="A process not renewed for this long is taken for dead.")
    tick: float = Field(default=0.5, gt=0, description="Longest pause of the dispatcher between two looks.")
    resend_grace: float = Field(default=5.0, gt=0, description="Age from which a wake-up may be taken for lost.")
    dispatcher: bool = Field(default=True, description="Run the dispatcher in every worker.")
    max_crashes: int = Field(default=3, ge=0, description="Crashes of its process after which a job is FAILURE.")
    shutdown_grace: float = Field(default=20.0, ge=0, description="Wait for running bodies after SIGTERM.")
    progress_interval: float = Field(default=0.25, ge=0, description="Shortest time between two progress writes.")
    max_payload: int = Field(default=1_000_000, gt=0, description="Bytes of JSON that arguments or a result may have.")
    retention_success: Kept = Field(
        default=604_800, ge=0, description="How long jobs that succeeded are kept; 'never' deletes none."
    )
    retention_failure: Kept = Field(
        default=2_592_000, ge=0, description="The same for jobs that failed or were revoked."
    )
    require_transaction: bool = Field(default=False, description="A `.delay()` outside a transaction is an error.")

    api_key: str | None = Field(default=None, repr=False, description="Required to bind the HTTP side off loopback.")
    api_keyless: bool = Field(
        default=False, description="Bind off loopback without a key, where something else keeps strangers out."
    )
    fault: str = Field(default="", description="Fault points to trip, for tests: name=kill|stop|raise[@nth],…")

    def require_database(self) -> str:
        """The database URL; raises ConfigurationError that names the variable."""
        return _required(self.database_url, "TRILHO_DATABASE_URL", "database=", self.data)

    def require_broker(self) -> str:
        """The broker URL; raises ConfigurationError that names the variable."""
        return _required(self.broker_url, "TRILHO_BROKER_URL", "broker=", self.data)


def load(**given: Any) -> Settings:
    """Settings from the environment, then from `given`, then from the stack that `trilho up` left running."""
    present = {name: value for name, value in given.items() if value is not None}
    environment = Settings()
    values = present | environment.model_dump(exclude_unset=True)
    stack = running_stack(Path(values.get("data", environment.data)))
    return Settings(**(_urls_of(stack) | values))


def running_stack(data: Path) -> dict[str, Any]:
    """What the supervisor that runs in this data folder wrote about itself; empty if none runs."""
    try:
        stack: dict[str, Any] = json.loads((data / STACK_FILE).read_text())
        os.kill(int(stack["pid"]), 0)
    except PermissionError:
        return stack
    except (OSError, ValueError, KeyError):
        return {}
    return stack


def _urls_of(stack: dict[str, Any]) -> dict[str, str]:
    return {name: stack[name] for name in _OF_A_STACK if stack.get(name)}


def _required(value: str | None, variable: str, argument: str, data: Path) -> str:
    if value:
        return value
    raise ConfigurationError(
        f"{variable} is not set, Trilho(...) got no {argument}, and no stack runs in {data}: "
        f"set {variable}, or start one with `trilho up`"
    )
