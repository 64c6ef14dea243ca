"""Mail and users while processes die: nobody is welcomed who is not stored, and no mail is lost."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.lab.smtp import MailServer
from tests.loja.postbox import mail_to, posting, report_to
from tests.loja.shop import Shop, api
from trilho.embedded import Valkey


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as running:
        yield running


def test_a_mail_accepted_just_before_a_kill_is_sent_again_with_the_same_message_id(
    idle_shop: Shop, server: MailServer
) -> None:
    task_id = report_to(idle_shop, "again@example.com")
    with posting(idle_shop, server, "doomed", TRILHO_FAULT="finish.before=kill", TRILHO_MAX_CRASHES="100") as doomed:
        mail_to(server, "again@example.com")
        doomed.end()
    assert idle_shop.task(task_id)["status"] != "SUCCESS"
    before = len(server.mails)
    with posting(idle_shop, server, "heir"):
        result = idle_shop.result(task_id, timeout=40)
    mails = mail_to(server, "again@example.com", before + 1)
    assert {mail["Message-ID"] for mail in mails} == {result["message_id"]}
    assert idle_shop.task(task_id)["worker"].startswith("heir@")


# The health check that `api` waits for is a transaction, too: it passes the second point first.
@pytest.mark.parametrize(("fault", "stored"), [("enqueue.before_commit=kill", 0), ("enqueue.after_commit=kill@2", 1)])
def test_an_api_killed_around_the_commit_leaves_user_and_mail_or_neither(
    idle_shop: Shop, server: MailServer, fault: str, stored: int
) -> None:
    email = f"stored-{stored}@example.com"
    environment = {**idle_shop.environment, "TRILHO_FAULT": fault}
    with api(idle_shop.folder, environment) as client, pytest.raises(httpx.TransportError):
        client.post("/users", json={"email": email})
    assert idle_shop.query("SELECT count(*) FROM loja.users WHERE email = %s", email) == [(stored,)]
    with posting(idle_shop, server):
        if stored:
            assert len(mail_to(server, email)) == 1
            assert idle_shop.client.post("/users", json={"email": email}).status_code == 409
        else:
            idle_shop.result(report_to(idle_shop, "after@example.com"))
            assert [mail["To"] for mail in server.mails] == ["after@example.com"]
            assert idle_shop.client.post("/users", json={"email": email}).status_code == 201
            mail_to(server, email)


def test_a_user_is_stored_at_once_and_welcomed_while_the_broker_is_dead(
    idle_shop: Shop, server: MailServer, own_broker: Valkey
) -> None:
    with posting(idle_shop, server):
        own_broker.stop()
        try:
            begin = time.perf_counter()
            assert idle_shop.client.post("/users", json={"email": "dead-broker@example.com"}).status_code == 201
            assert time.perf_counter() - begin < 2
            assert len(mail_to(server, "dead-broker@example.com")) == 1
        finally:
            own_broker.start()
