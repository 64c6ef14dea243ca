"""What a stack consists of, decided without starting anything."""

import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from trilho.cli.options import DEFAULT_DATA
from trilho.cli.program import MARK, Program, python

WORKER = "worker"
CONSUMER = "consumer"
CONCURRENCY = "2"
LOG_LEVEL = "INFO"


@dataclass(frozen=True)
class Plan:
    """What the user asked `trilho up` for."""

    app: str
    data: Path
    api: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    kafka_port: int | None = None

    @property
    def api_url(self) -> str | None:
        """Where the API will answer; None if the stack has none."""
        return f"http://{self.host}:{self.port}" if self.api else None


@dataclass(frozen=True)
class Urls:
    """Where the servers of the stack are.

    `smtp` is None where mail cannot be sent, `kafka` where events go into PostgreSQL's log.
    """

    database: str
    broker: str
    smtp: str | None = None
    kafka: str | None = None


def names(kind: str, count: int) -> list[str]:
    """The names of so many processes of a kind: `worker`, `worker-2`, `worker-3`, …."""
    return [kind if number == 1 else f"{kind}-{number}" for number in range(1, count + 1)]


def worker_arguments(app: str, name: str, extra: Collection[str] = ()) -> tuple[str, ...]:
    """A plain Celery worker; what `extra` sets itself gets no default."""
    # Gossip and mingle talk to every other worker through the broker and give Trilho nothing: the database knows all.
    defaults = {
        ("-n", "--hostname"): f"{name}@%h",
        ("-c", "--concurrency"): CONCURRENCY,
        ("-l", "--loglevel"): LOG_LEVEL,
    }
    chosen = [part for flags, value in defaults.items() if not _mentions(extra, flags) for part in (flags[0], value)]
    return python("celery", "-A", app, "worker", *chosen, "--without-gossip", "--without-mingle", *extra)


def environment(base: Mapping[str, str], plan: Plan, urls: Urls) -> dict[str, str]:
    """The environment of every process of the stack."""
    own = {
        "TRILHO_APP": plan.app,
        "TRILHO_DATA": str(plan.data),
        "TRILHO_DATABASE_URL": urls.database,
        "TRILHO_BROKER_URL": urls.broker,
        "PYTHONUNBUFFERED": "1",
        MARK: str(plan.data),
    }
    others = {"TRILHO_SMTP_URL": urls.smtp, "TRILHO_KAFKA_BOOTSTRAP": urls.kafka}
    return dict(base) | own | {name: url for name, url in others.items() if url}


def migration(plan: Plan, urls: Urls) -> Program:
    """The program that brings the database up to date."""
    return Program("migrate", "migrate", python("trilho.cli", "migrate", "-A", plan.app), _inherited(plan, urls))


def mail(plan: Plan, urls: Urls, port: int) -> Program:
    """The mail catcher of the stack."""
    return Program("mail", "mail", python("trilho.cli", "mail", "--port", str(port)), _inherited(plan, urls))


def worker(plan: Plan, urls: Urls, name: str) -> Program:
    """One worker of the stack."""
    return Program(WORKER, name, worker_arguments(plan.app, name), _inherited(plan, urls))


def consumer(plan: Plan, urls: Urls, name: str) -> Program:
    """What handles the events of the stack."""
    arguments = python("trilho.cli", "consumer", "-A", plan.app, "-n", name)
    return Program(CONSUMER, name, arguments, _inherited(plan, urls))


def api(plan: Plan, urls: Urls) -> Program:
    """The HTTP side of the stack."""
    arguments = python("trilho.cli", "api", str(plan.api), "--host", plan.host, "--port", str(plan.port))
    return Program("api", "api", arguments, _inherited(plan, urls))


def welcome(plan: Plan, command: str, kafka: str | None = None) -> list[str]:
    """What to tell the user when the stack is up; `command` is how another shell calls this program."""
    urls = [f"  API      {plan.api_url}", f"  docs     {plan.api_url}/docs"] if plan.api else []
    urls += [f"  Kafka    {kafka}"] if kafka else []
    data = "" if plan.data == DEFAULT_DATA.resolve() else f" --data {shlex.quote(str(plan.data))}"
    others = ", ".join(f"{command} {name}{data}" for name in ("ps", "logs -f", "scale 4", "env"))
    return [*urls, f"Ctrl-C stops everything. In another shell: {others}"]


def _inherited(plan: Plan, urls: Urls) -> dict[str, str]:
    return environment(os.environ, plan, urls)


def _mentions(arguments: Collection[str], flags: Collection[str]) -> bool:
    return any(
        argument == flag or argument.startswith(f"{flag}=") or (not flag.startswith("--") and argument.startswith(flag))
        for argument in arguments
        for flag in flags
    )


def changes(wanted: Collection[str], present: Collection[str], leaving: Collection[str]) -> tuple[list[str], list[str]]:
    """Which processes to start and which to stop, to have those that are wanted; one that is leaving is waited for."""
    start = [name for name in wanted if name not in present]
    stop = sorted(name for name in present if name not in wanted and name not in leaving)
    return start, stop
