"""Sending a letter from inside a job."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, ParamSpec, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from loja.app import app
from loja.mail.delivery import deliver
from loja.mail.errors import TemporaryFailure
from loja.mail.message import Letter, Person, build
from loja.mail.server import MailServer
from loja.settings import ShopSettings
from trilho import Task

P = ParamSpec("P")
R = TypeVar("R")


def mail_task(function: Callable[P, R]) -> Task[P, R]:
    """Make a task of a function that sends one mail: what may get better is tried again, for some twenty minutes."""
    task: Task[P, R] = app.task(
        autoretry_for=(TemporaryFailure, SoftTimeLimitExceeded),
        max_retries=8,
        retry_backoff=5,  # seconds, doubled each time
        retry_backoff_max=600,
        retry_jitter=True,
        # A server that says a byte now and then never falls silent for long enough.
        soft_time_limit=120,
        time_limit=150,
    )(function)
    return task


def send(letter: Letter, job_id: str) -> dict[str, Any]:
    """Send the letter of this job; raises MailError.

    A process that dies between the server's acceptance and the end of its job has the mail sent again, with the same
    Message-ID.
    """
    settings = ShopSettings()
    sender = Person(settings.mail_from, settings.mail_name)
    message = build(letter, sender, job_id, datetime.now(timezone.utc))
    server = MailServer.of(app.settings.smtp_url)
    size = deliver(server, message, sender.email, letter.to.email, settings.smtp_timeout)
    return {"message_id": str(message["Message-ID"]), "recipient": letter.to.email, "bytes": size}
