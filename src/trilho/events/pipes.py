"""Decides where events go and come from: Kafka if TRILHO_KAFKA_BOOTSTRAP is set, else the PostgreSQL log."""

from collections.abc import Callable
from uuid import UUID

from trilho.db.pool import Database
from trilho.db.wakeups import Bell
from trilho.errors import ConfigurationError
from trilho.events.log import Log
from trilho.events.log_admin import LogAdmin
from trilho.events.moving import MovingLog
from trilho.events.outlet import Outlet
from trilho.events.postgres import PostgresLog
from trilho.events.postgres_admin import PostgresAdmin
from trilho.events.subscription import ByTopic
from trilho.events.transfer import Transfer


def outlet_of(database: Database, ring: Callable[[], None]) -> Outlet:
    """What the relay moves events with; it calls `ring`, from any thread, when another look is due.

    Raises ConfigurationError when Kafka is wanted and the extra is not installed.
    """
    if database.settings.kafka_bootstrap is None:
        return Transfer(database.faults)
    try:
        from trilho.events.kafka.outlet import KafkaOutlet  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise without_extra(error) from error
    return KafkaOutlet.of(database, ring)


def log_of(database: Database, subscriptions: ByTopic, me: Callable[[], UUID], bell: Bell) -> Log:
    """Where a consumer process reads; `me` gives its incarnation, `bell` is what it waits for.

    Raises ConfigurationError when Kafka is wanted and the extra is not installed, or takes no such options.
    """
    if database.settings.kafka_bootstrap is None:
        return PostgresLog(database, subscriptions, me, bell)
    try:
        from trilho.events.kafka.log import KafkaLog  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise without_extra(error) from error
    new = KafkaLog(database, subscriptions, me, bell)
    return MovingLog(database, subscriptions, PostgresLog(database, subscriptions, me, bell), new)


def admins_of(database: Database) -> tuple[LogAdmin, LogAdmin | None]:
    """What administration asks, and the PostgreSQL log too where Kafka has taken its place.

    Raises ConfigurationError when Kafka is wanted and the extra is not installed.
    """
    postgres = PostgresAdmin(database)
    if database.settings.kafka_bootstrap is None:
        return postgres, None
    try:
        from trilho.events.kafka.admin import KafkaAdmin  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise without_extra(error) from error
    return KafkaAdmin.of(database), postgres


def without_extra(error: ImportError) -> Exception:
    """The error of ours if confluent_kafka is what could not be imported."""
    if (error.name or "").split(".")[0] != "confluent_kafka":
        return error
    return ConfigurationError("TRILHO_KAFKA_BOOTSTRAP is set, but its client is missing: pip install 'trilho[kafka]'")
