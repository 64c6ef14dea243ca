"""The command `trilho` and what it does with errors."""

import logging
import os
import sys

import psycopg
import typer

from trilho.cli import groups, jobs, observe, sagas, services, streams
from trilho.cli.consumer import consumer
from trilho.cli.mail import mail
from trilho.cli.output import fail
from trilho.cli.up import up
from trilho.errors import TrilhoError

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Durable background jobs: PostgreSQL is the truth, brokers are only pipes.",
)
cli.command()(up)
cli.command()(services.api)
cli.command(context_settings=PASS_ON)(services.worker)
cli.command()(consumer)
cli.command()(services.dispatcher)
cli.command()(services.migrate)
cli.command()(mail)
cli.command()(observe.ps)
cli.command("logs")(observe.show_logs)
cli.command()(observe.scale)
cli.command()(observe.env)
cli.command()(jobs.call)
cli.add_typer(jobs.group, name="jobs")
cli.add_typer(streams.topics, name="topics")
cli.add_typer(streams.events, name="events")
cli.add_typer(groups.groups, name="groups")
cli.add_typer(groups.dead_letters, name="dead-letters")
cli.add_typer(groups.parked, name="parked")
cli.add_typer(sagas.group, name="sagas")


class LastWarning(logging.Handler):
    """Keeps why the pool could not connect: its own error only says that it waited too long."""

    reason: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep this record's message."""
        self.reason = record.getMessage()


def main() -> None:
    """Run the command line; an error that a user can do something about is one line and exit code 1."""
    warning = LastWarning(logging.WARNING)
    logging.getLogger("psycopg.pool").addHandler(warning)
    try:
        cli()
    except BrokenPipeError:
        # The reader (`| head`) has gone; the interpreter must not try to flush to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except (TrilhoError, OSError) as error:
        fail(error)
    except psycopg.OperationalError as error:
        fail(f"the database does not answer: {warning.reason or error}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
