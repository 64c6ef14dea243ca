"""Mail that the shop has sent, and jobs that wait to send theirs."""

from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage

from tests.lab.poll import eventually
from tests.lab.smtp import MailServer
from tests.lab.worker import Worker
from tests.loja.shop import Json, Shop

TIMEOUT = "0.5"


@contextmanager
def posting(shop: Shop, server: MailServer, name: str = "worker", **environment: str) -> Iterator[Worker]:
    """A worker that hands its mail to this server."""
    mail = {"TRILHO_SMTP_URL": server.url, "LOJA_SMTP_TIMEOUT": TIMEOUT}
    with shop.worker(name, **mail, **environment) as worker:
        yield worker


def mail_to(server: MailServer, recipient: str, count: int = 1) -> list[EmailMessage]:
    """The mails to this address, once there are so many."""

    def received() -> list[EmailMessage]:
        return [mail for mail in list(server.mails) if recipient in str(mail["To"])]

    return eventually(received, lambda mails: len(mails) >= count, timeout=30)


def report_to(shop: Shop, recipient: str, report_type: str = "vendas") -> str:
    """Ask for a report; the id of the job."""
    return shop.start("/send-report", email=recipient, report_type=report_type)


def waiting_after(shop: Shop, task_id: str) -> Json:
    """The job once an attempt has failed and another one is to come."""
    return eventually(lambda: shop.task(task_id), lambda task: task["status"] in {"RETRY", "FAILURE"}, timeout=20)


def hurry(shop: Shop, task_id: str) -> None:
    """Let the job's next attempt begin now."""
    shop.query("UPDATE trilho.jobs SET run_at = clock_timestamp() WHERE id = %s AND state = 'RETRY'", task_id)
