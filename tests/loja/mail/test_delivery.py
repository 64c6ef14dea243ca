"""Mail is handed over to a real SMTP server, whatever that does."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone
from email.message import EmailMessage
from pathlib import Path

import pytest

from loja.mail.delivery import deliver
from loja.mail.errors import MailError, NoMailServer, PermanentRefusal, TemporaryFailure
from loja.mail.message import Letter, Person, build
from loja.mail.server import MailServer as Target
from tests.lab.servers import missing
from tests.lab.smtp import MailServer, Mood

TIMEOUT = 0.5
SENDER, RECIPIENT = "loja@example.com", "ana@example.com"


def message() -> EmailMessage:
    letter = Letter(Person(RECIPIENT, "Ana"), "Hello", ".\r\n..\r\nOlá\r\n", "<p>Olá</p>")
    return build(letter, Person(SENDER), "job-1", datetime.now(timezone.utc))


def hand_over(target: Target) -> int:
    return deliver(target, message(), SENDER, RECIPIENT, TIMEOUT)


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    with MailServer() as running:
        yield running


def test_a_mail_arrives_as_it_was_built(server: MailServer) -> None:
    server.behave()
    assert hand_over(Target.of(server.url)) > 300
    [mail] = server.mails
    assert mail["Message-ID"] == "<job-1@example.com>"
    assert mail.get_body(("plain",)).get_content().splitlines() == [".", "..", "Olá"]
    assert server.envelopes == [(SENDER, [RECIPIENT])]


@pytest.mark.parametrize(
    ("mood", "error", "words"),
    [
        ("unknown user", PermanentRefusal, "550 5.1.1 no such user here"),
        ("mailbox full", PermanentRefusal, "552 5.2.2 the mailbox is full"),
        ("busy", TemporaryFailure, "451 4.3.0 try again later"),
        ("slow", TemporaryFailure, "timed out"),
        ("cuts", TemporaryFailure, "was not handed over"),
        ("accepts and cuts", TemporaryFailure, "was not handed over"),
    ],
)
def test_a_server_that_does_not_take_it(server: MailServer, mood: Mood, error: type[MailError], words: str) -> None:
    server.behave(mood)
    with pytest.raises(error, match=words) as caught:
        hand_over(Target.of(server.url))
    assert RECIPIENT in str(caught.value)


def test_a_mail_that_was_accepted_is_sent_however_the_server_takes_its_leave(server: MailServer) -> None:
    server.behave("rude")
    assert hand_over(Target.of(server.url))
    assert len(server.mails) == 1


def test_no_server_at_all_is_tried_again() -> None:
    with MailServer() as gone:
        target = Target.of(gone.url)
    with pytest.raises(TemporaryFailure, match="refused"):
        hand_over(target)


def test_a_password_opens_the_server_and_a_wrong_one_is_final() -> None:
    with MailServer(password="secret") as server:
        assert hand_over(Target.of(f"smtp://ana:secret@127.0.0.1:{server.port}"))
        with pytest.raises(PermanentRefusal, match="535") as caught:
            hand_over(Target.of(f"smtp://ana:wrong@127.0.0.1:{server.port}"))
        assert "wrong" not in str(caught.value)


def test_a_password_does_not_leave_the_machine_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "is_local", False)
    with MailServer(password="secret") as server:
        with pytest.raises(NoMailServer, match="no encryption"):
            hand_over(Target.of(f"smtp://ana:secret@127.0.0.1:{server.port}"))
        assert server.mails == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` that signed itself, with its key beside it."""
    if shutil.which("openssl") is None:
        missing("openssl", "apt-get install openssl")
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(path.with_name("key.pem")), "-out", str(path), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return path


@pytest.fixture(params=["smtps", "starttls"])
def encrypted(request: pytest.FixtureRequest, certificate: Path) -> Iterator[tuple[MailServer, Target]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with MailServer(tls=context, starttls=request.param == "starttls") as server:
        yield server, Target("localhost", server.port, tls=request.param == "smtps")


def test_a_connection_is_encrypted_where_the_certificate_is_trusted(
    encrypted: tuple[MailServer, Target], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, target = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    hand_over(target)
    assert len(server.mails) == 1


def test_a_certificate_that_nobody_vouches_for_gets_no_mail(encrypted: tuple[MailServer, Target]) -> None:
    server, target = encrypted
    with pytest.raises(TemporaryFailure, match="certificate"):
        hand_over(target)
    assert server.mails == []
