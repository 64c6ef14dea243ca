"""Mail jobs on a real worker and a real SMTP server, from request to mail."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.lab.poll import eventually
from tests.lab.smtp import MailServer, Mood
from tests.loja.postbox import hurry, mail_to, posting, report_to, waiting_after
from tests.loja.shop import Shop

HEADER = "date,region,product,quantity,unit_price\n"


@pytest.fixture(scope="module")
def running() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def server(running: MailServer) -> MailServer:
    running.behave()
    return running


@pytest.fixture(scope="module")
def shop(idle_shop: Shop, running: MailServer) -> Iterator[Shop]:
    with posting(idle_shop, running):
        yield idle_shop


def test_without_sales_the_report_says_so_and_is_sent(shop: Shop, server: MailServer) -> None:
    result = shop.result(report_to(shop, "early@example.com"))
    assert (result["rows"], result["recipient"]) == (0, "early@example.com")
    [mail] = mail_to(server, "early@example.com")
    for kind in ("plain", "html"):
        assert "No sales file has been processed yet" in mail.get_body((kind,)).get_content()


def test_a_report_arrives_with_chart_text_and_file(shop: Shop, server: MailServer) -> None:
    rows = "2031-05-01,norte,Livro,2,10.00\n2031-06-02,sul,=1+1,1,5.50\n"
    shop.upload("mailed.csv", (HEADER + rows).encode())
    shop.result(shop.start("/process-csv", filename="mailed.csv"))
    task_id = report_to(shop, "ana@example.com", "produtos")
    result = shop.result(task_id)
    [mail] = mail_to(server, "ana@example.com")
    assert result == {
        "report_type": "produtos",
        "rows": 2,
        "message_id": str(mail["Message-ID"]),
        "recipient": "ana@example.com",
        "bytes": result["bytes"],
    }
    assert task_id in result["message_id"]
    assert result["bytes"] > 1000
    html = mail.get_body(("html",)).get_content()
    assert 'width="28%" bgcolor=' in html, "the smaller bar of the chart: 5.50 of 20.00"
    assert "<script" not in html
    [file] = mail.iter_attachments()
    table = list(csv.reader(io.StringIO(file.get_payload(decode=True).decode("utf-8-sig"))))
    assert table == [
        ["product", "sales", "quantity", "amount"],
        ["Livro", "1", "2", "20.00"],
        ["'=1+1", "1", "1", "5.50"],
    ]


@pytest.mark.parametrize("mood", ["unknown user", "mailbox full"])
def test_a_mail_that_is_refused_for_good_is_not_sent_again(shop: Shop, server: MailServer, mood: Mood) -> None:
    server.behave(mood)
    task = shop.finished(report_to(shop, "gone@example.com"))
    assert (task["status"], task["attempt"], server.asked) == ("FAILURE", 1, 1)
    assert task["error"].startswith("PermanentRefusal: the mail server refuses mail to gone@example.com: 55")
    server.behave()
    assert shop.client.post(f"/tasks/{task['task_id']}/retry").status_code == 202
    assert shop.result(task["task_id"])["recipient"] == "gone@example.com"


@pytest.mark.parametrize("mood", ["busy", "slow", "cuts"])
def test_a_mail_that_was_not_taken_is_sent_again_later(shop: Shop, server: MailServer, mood: Mood) -> None:
    server.behave(mood)
    task_id = report_to(shop, f"{mood}@example.com")
    task = waiting_after(shop, task_id)
    assert (task["status"], task["max_attempts"]) == ("RETRY", 9)
    assert task["attempt"] >= 1  # the first pause may be next to nothing
    assert "TemporaryFailure" in task["error"]
    server.behave()
    hurry(shop, task_id)
    assert shop.result(task_id)["message_id"] == mail_to(server, f"{mood}@example.com")[0]["Message-ID"]


def test_pauses_between_attempts_grow(shop: Shop, server: MailServer) -> None:
    server.behave("busy")
    task_id = report_to(shop, "patient@example.com")
    pauses = []
    while (task := waiting_after(shop, task_id))["status"] == "RETRY":  # eight times, or fewer after short pauses
        due = datetime.fromisoformat(task["next_run_at"])
        pauses.append((due - datetime.fromisoformat(task["started_at"])).total_seconds())
        server.behave("busy")
        hurry(shop, task_id)
        eventually(lambda: shop.task(task_id)["attempt"], lambda attempt: attempt > task["attempt"])
    assert max(pauses) > 20, pauses
    assert max(pauses) <= 601, pauses
    assert task["status"] == "FAILURE"


def test_a_mail_whose_acceptance_got_lost_comes_twice_with_the_same_message_id(shop: Shop, server: MailServer) -> None:
    server.behave("accepts and cuts")
    task_id = report_to(shop, "twice@example.com")
    assert waiting_after(shop, task_id)["status"] == "RETRY"
    server.mood = "accepts"
    hurry(shop, task_id)
    result = shop.result(task_id)
    assert {mail["Message-ID"] for mail in mail_to(server, "twice@example.com", 2)} == {result["message_id"]}


def test_a_new_user_is_welcomed_by_name(shop: Shop, server: MailServer) -> None:
    answer = shop.client.post("/users", json={"email": "Ana.Maria@example.com", "name": "Ana <b> Conceição"})
    assert answer.status_code == 201
    [mail] = mail_to(server, "Ana.Maria@example.com")
    assert mail["To"].addresses[0].display_name == "Ana <b> Conceição"
    assert mail["Subject"] == "Welcome, Ana <b> Conceição!"
    assert "Ana &lt;b&gt; Conceição" in mail.get_body(("html",)).get_content()
