"""`trilho up`: a whole stack on one machine."""

from typing import Annotated

import typer

from trilho.cli.finder import app_name
from trilho.cli.options import DEFAULT_DATA, AppOption, DataOption
from trilho.cli.plan import Plan
from trilho.errors import ConfigurationError
from trilho.settings import Settings

KAFKA_PORT = 9092

ApiOption = Annotated[str | None, typer.Option("--api", metavar="MODULE:ATTRIBUTE", help="ASGI app to serve as well.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, max=100, help="How many workers.")]
KafkaOption = Annotated[bool, typer.Option("--kafka", help="Start Kafka too (needs Java, and Maven once), for events.")]
KafkaPortOption = Annotated[
    int | None, typer.Option("--kafka-port", min=1, max=65_535, help="The same, on this loopback port instead of 9092.")
]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65_535, help="Loopback port of the API.")]


def up(
    app: AppOption = None,
    api: ApiOption = None,
    workers: WorkersOption = 2,
    port: PortOption = 8000,
    *,
    kafka: KafkaOption = False,
    kafka_port: KafkaPortOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Start PostgreSQL, Valkey, a mail catcher, the API, a consumer and workers; supervise them; Ctrl-C stops all.

    TRILHO_DATABASE_URL, TRILHO_BROKER_URL, TRILHO_SMTP_URL and TRILHO_KAFKA_BOOTSTRAP, where set, are used instead of
    servers of its own.
    """
    try:
        from trilho.cli.launch import Launch  # noqa: PLC0415 - needs an optional extra
    except ImportError as error:
        raise ConfigurationError('`trilho up` needs psutil: pip install "trilho[embedded]"') from error
    name = app_name(app, data)
    broker_port = kafka_port or (KAFKA_PORT if kafka else None)
    asked = Plan(name, data.resolve(), api, port=port, workers=workers, kafka_port=broker_port)
    Launch(asked, Settings()).run()
