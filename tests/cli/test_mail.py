"""`trilho mail`, and when a stack has a catcher of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.cli.project import Project
from trilho.cli import catcher
from trilho.cli.stack import Stack
from trilho.embedded.ports import HOST, free_port
from trilho.settings import Settings, load

WITHOUT = "import sys; sys.modules['aiosmtpd'] = None; from trilho.cli import main; main()"


def test_a_catcher_is_wanted_unless_another_server_is_given(tmp_path: Path) -> None:
    assert catcher.wanted(tmp_path, None)
    assert not catcher.wanted(tmp_path, "smtp://mail.example.com")
    port = catcher.choose_port(tmp_path)
    assert catcher.wanted(tmp_path, catcher.url(port)), "a shell that had joined the stack has the URL of its catcher"
    assert not catcher.wanted(tmp_path, catcher.url(port + 1))


def test_the_port_stays_the_same_while_nobody_else_takes_it(tmp_path: Path) -> None:
    port = catcher.choose_port(tmp_path)
    assert catcher.choose_port(tmp_path) == port
    with socket.create_server((HOST, port)):
        assert catcher.choose_port(tmp_path) != port


def test_settings_join_the_catcher_of_a_running_stack(tmp_path: Path) -> None:
    Stack(1, "shop", str(tmp_path), "postgresql://h/db", "redis://h", smtp_url="smtp://127.0.0.1:2525").write()
    assert load(data=tmp_path).smtp_url == "smtp://127.0.0.1:2525"


def test_the_password_of_a_mail_server_does_not_show() -> None:
    assert "secret" not in repr(Settings(smtp_url="smtps://ana:secret@mail.example.com"))


def test_a_port_in_use_is_one_clear_line(project: Project) -> None:
    port = free_port()
    with socket.create_server((HOST, port)):
        done = project.trilho("mail", "--port", str(port))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("trilho: ")
    assert "address already in use" in line


def test_without_aiosmtpd_it_says_what_to_install(project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "mail"],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == 'trilho: `trilho mail` needs aiosmtpd: pip install "trilho[mail]"\n'


def test_without_aiosmtpd_the_stack_comes_up_and_says_so(project: Project) -> None:
    (project.folder / "sitecustomize.py").write_text("import sys\nsys.modules['aiosmtpd'] = None\n")
    path = os.pathsep.join([str(project.folder), *sys.path])
    with project.up("--workers", "0", PYTHONPATH=path) as up:
        assert sorted(project.ps()) == ["postgres", "valkey"]
        assert 'no mail is caught: that needs pip install "trilho[mail]"' in up.text()
        assert "TRILHO_SMTP_URL" not in project.json("env")
