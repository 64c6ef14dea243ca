"""The mail catcher: a real SMTP server whose 250 means that the message is on the disk."""

import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import processes
from tests.lab.poll import eventually
from trilho.cli.probes import greets
from trilho.embedded.mail import LARGEST
from trilho.embedded.mailbox import Mailbox
from trilho.embedded.ports import HOST, free_port

SENDER, RECIPIENT = "loja@example.com", "ana@example.com"


@contextmanager
def catching(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`trilho mail` on this port."""
    command = [sys.executable, "-m", "trilho.cli", "mail", "--port", str(port), "--data", str(folder)]
    process = subprocess.Popen(command, env=os.environ | {processes.MARK: str(folder)}, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: greets(HOST, port), timeout=20)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder, port = tmp_path_factory.mktemp("data"), free_port()
    with catching(folder, port):
        yield folder, port


@pytest.fixture
def mail(running: tuple[Path, int]) -> Iterator[Path]:
    """The folder of the running catcher, empty."""
    folder = running[0] / "mail"
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture
def client(running: tuple[Path, int]) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(HOST, running[1], local_hostname="test", timeout=10) as client:
        yield client


def test_an_accepted_mail_is_a_file_with_its_envelope(mail: Path, client: smtplib.SMTP) -> None:
    body = b"Subject: one\r\n\r\n.\r\n..two \xc3\xa9\r\n"
    client.sendmail(SENDER, [RECIPIENT, "rui@example.com"], body)
    [file] = mail.iterdir()
    assert file.suffix == ".eml"
    head = f"Return-Path: <{SENDER}>\r\nDelivered-To: <{RECIPIENT}>\r\nDelivered-To: <rui@example.com>\r\n"
    assert file.read_bytes() == head.encode() + body


def test_names_sort_by_the_time_of_arrival(mail: Path, client: smtplib.SMTP) -> None:
    for number in range(20):
        client.sendmail(SENDER, [RECIPIENT], f"Subject: {number}\r\n\r\n")
    subjects = [file.read_text().split("Subject: ")[1].strip() for file in sorted(mail.iterdir())]
    assert subjects == [str(number) for number in range(20)]


def test_a_mail_that_is_too_large_is_refused_for_good(mail: Path, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        client.sendmail(SENDER, [RECIPIENT], b"Subject: large\r\n\r\n" + b"x" * 900 * (LARGEST // 900 + 1))
    assert caught.value.smtp_code == 552
    assert list(mail.iterdir()) == []


def test_a_mail_that_cannot_be_kept_is_not_accepted(
    mail: Path, running: tuple[Path, int], client: smtplib.SMTP
) -> None:
    aside = mail.rename(mail.with_name("aside"))
    try:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail(SENDER, [RECIPIENT], "Subject: lost\r\n\r\n")
        assert caught.value.smtp_code == 452
    finally:
        aside.rename(mail)
    client.sendmail(SENDER, [RECIPIENT], "Subject: kept\r\n\r\n")
    assert len(list(mail.iterdir())) == 1


@pytest.mark.parametrize("address", [b'"a\rX-Evil: 1"@example.com', b"a\xff@example.com", b"a\x00b@example.com"])
def test_an_address_cannot_add_a_header(mail: Path, running: tuple[Path, int], address: bytes) -> None:
    with socket.create_connection((HOST, running[1]), timeout=10) as connection, connection.makefile("rwb") as stream:
        for line in (
            b"EHLO x",
            b"MAIL FROM:<a@example.com>",
            b"RCPT TO:<" + address + b">",
            b"RCPT TO:<b@x.y>",
            b"DATA",
        ):
            stream.write(line + b"\r\n")
        stream.write(b"Subject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n")
        stream.flush()
        stream.read()
    [file] = mail.iterdir()
    head = file.read_bytes().partition(b"\r\n\r\n")[0]
    names = {line.partition(b":")[0] for line in head.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")}
    assert names == {b"Return-Path", b"Delivered-To", b"Subject"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_on_a_signal_also_while_somebody_is_connected(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with catching(tmp_path, port) as process, smtplib.SMTP(HOST, port, local_hostname="test", timeout=10):
        process.send_signal(number)
        assert process.wait(10) == 0


def test_it_comes_back_on_its_port_with_its_mail(tmp_path: Path) -> None:
    port = free_port()
    with catching(tmp_path, port) as process:
        with smtplib.SMTP(HOST, port, local_hostname="test", timeout=10) as client:
            client.sendmail(SENDER, [RECIPIENT], "Subject: before\r\n\r\n")
        (tmp_path / "mail" / ".receiving-x").touch()
        process.kill()
        process.wait()
    with catching(tmp_path, port):
        [file] = (tmp_path / "mail").iterdir()
        assert "Subject: before" in file.read_text()


# ---- the folder


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    box = Mailbox(tmp_path, kept=3)
    names = [box.store(str(number).encode()) for number in range(10)]
    assert names == sorted(names)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.eml" for name in names[-3:]}


def test_a_reader_sees_whole_messages_only(tmp_path: Path) -> None:
    box, content = Mailbox(tmp_path), b"x" * 200_000
    writers = [threading.Thread(target=lambda: [box.store(content) for _ in range(20)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert {path.stat().st_size for path in tmp_path.glob("*.eml")} <= {len(content)}
    assert len(list(tmp_path.iterdir())) == 80


def test_a_message_is_written_out_before_it_has_its_name_and_the_name_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    Mailbox(tmp_path).store(b"x")
    assert done == ["file", "rename", "folder"]


def test_a_message_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Mailbox(tmp_path).store(b"x")
    assert list(tmp_path.iterdir()) == []
