"""`trilho up` from start to end, and every way in which it can go wrong."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.cli.project import Project, alive, family
from tests.lab import processes
from tests.lab.poll import eventually
from trilho.cli.probes import greets
from trilho.embedded.ports import HOST
from trilho.settings import STACK_FILE

pytestmark = pytest.mark.timeout(150)

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def pids(project: Project) -> list[int]:
    return [process["pid"] for process in project.ps().values()]


def families(project: Project, up_pid: int) -> list[int]:
    """Every process of a stack: by descent, and by the mark in the environment."""
    return sorted({*family(up_pid), *(process.pid for process in processes.marked(project.mark))})


@pytest.mark.parametrize("number", STOPS, ids=[number.name for number in STOPS])
def test_a_signal_stops_everything_and_leaves_no_process(project: Project, number: signal.Signals) -> None:
    with project.up("--api", "web:api") as up:
        everything = families(project, up.process.pid)
        assert len(everything) > 10, "postmaster and its children, Valkey, API, two workers and their pools"
        assert up.stop(number) == 0
        assert alive(everything) == []
        assert processes.marked(project.mark) == []
    assert not (project.folder / ".trilho" / STACK_FILE).exists()
    assert up.text().rstrip().splitlines()[-1].endswith("stopped")


def test_a_second_signal_stops_at_once_what_would_take_long(project: Project) -> None:
    with project.up("--workers", "1") as up:
        project.trilho("call", "shop.child", "--args", "[600]")
        everything = eventually(
            lambda: families(project, up.process.pid), lambda found: any(map(_is_sleep, found)), every=0.2
        )
        up.process.send_signal(signal.SIGINT)
        up.wait_for("stopping")
        assert up.stop(signal.SIGINT) == 0
        assert alive(everything) == []


def test_a_stack_whose_supervisor_was_killed_recovers_by_itself(project: Project) -> None:
    with project.up("--workers", "1") as up:
        job = project.json("call", "shop.add", "--args", "[1, 2]", "--wait")["id"]
        project.trilho("call", "shop.child", "--args", "[600]")
        everything = eventually(
            lambda: families(project, up.process.pid), lambda found: any(map(_is_sleep, found)), every=0.2
        )
        up.stop(signal.SIGKILL)
        done = project.trilho("ps")
        assert done.returncode == 1
        assert "no stack runs in .trilho" in done.stderr
        with project.up("--workers", "1"):
            assert alive(everything) == []
            assert project.json("jobs", "show", job)["result"] == 3


def test_crashed_processes_are_started_again_and_it_says_so(project: Project) -> None:
    with project.up("--api", "web:api", "--workers", "1") as up:
        before = project.ps()
        mail_port = int(project.json("env")["TRILHO_SMTP_URL"].rpartition(":")[2])
        for name in ("worker", "api", "mail", "valkey", "postgres"):
            members = family(before[name]["pid"])
            os.kill(before[name]["pid"], signal.SIGKILL)
            up.wait_for(f"{name} was killed by SIGKILL, starts again in 0.5 s")
            up.wait_for(f"{name} is ready", count=2)
            assert alive(members) == [], "also what the killed process had started"
        after = project.ps()
        assert greets(HOST, mail_port), "on the port that everybody knows"
        assert all(after[name]["pid"] != before[name]["pid"] for name in before)
        assert project.trilho("call", "shop.add", "--args", "[2, 2]", "--wait", "--timeout", "30").stdout == "4\n"


def test_the_second_start_keeps_jobs_ports_and_passwords(project: Project) -> None:
    with project.up("--workers", "1"):
        job = project.json("call", "shop.add", "--args", "[1, 2]", "--wait")["id"]
        before = project.json("env")
    with project.up("--workers", "1"):
        assert project.json("env") == before
        assert project.json("jobs", "show", job)["state"] == "SUCCESS"


def test_a_shell_that_had_joined_the_stack_can_start_it_again(project: Project) -> None:
    with project.up("--workers", "0"):
        joined = project.json("env")
    with project.up("--workers", "0", **joined):
        assert sorted(project.ps()) == ["mail", "postgres", "valkey"]


def test_a_port_in_use_is_one_clear_line_and_leaves_nothing(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", project.port))
        taken.listen()
        done = project.trilho("up", "-A", "shop", "--api", "web:api", "--port", str(project.port))
    assert done.returncode == 1
    assert done.stderr == f"trilho: port {project.port} is in use: choose another with --port\n"
    assert processes.marked(project.mark) == []


def test_a_data_folder_in_use_is_one_clear_line(project: Project) -> None:
    with project.up("--workers", "0") as up:
        done = project.trilho("up", "-A", "shop", "--port", "1")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert f"in use by `trilho up` (process {up.process.pid})" in done.stderr
        assert len(pids(project)) == 3, "the running stack is untouched"


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("nowhere", "No module named 'nowhere'"),
        ("broken", "SyntaxError"),
        ("empty", "cannot load the app 'empty'"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_one_clear_line(project: Project, app: str, reason: str) -> None:
    (project.folder / "broken.py").write_text("def (:\n")
    (project.folder / "empty.py").write_text("")
    done = project.trilho("up", "-A", app)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr
    assert processes.marked(project.mark) == []


def test_an_api_that_cannot_start_ends_the_stack_and_names_its_log(project: Project) -> None:
    done = project.trilho("up", "-A", "shop", "--api", "nowhere:api", "--port", str(project.port))
    assert done.returncode == 1
    assert re.match(r"trilho: api ended with exit code \d+ 3 times and was never ready: .*nowhere", done.stderr)
    assert str(project.folder / ".trilho" / "logs" / "api.log") in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert processes.marked(project.mark) == []


def test_servers_that_are_given_are_used_and_not_started(project: Project, database: str, valkey: str) -> None:
    given = {"TRILHO_DATABASE_URL": database, "TRILHO_BROKER_URL": valkey, "TRILHO_SMTP_URL": "smtp://u:p@127.0.0.1:1"}
    with project.up("--workers", "1", **given):
        assert sorted(project.ps()) == ["worker"]
        assert given.items() <= project.json("env").items()
        assert project.trilho("call", "shop.add", "--args", "[1, 1]", "--wait", "--timeout", "30").stdout == "2\n"


def test_a_data_folder_may_have_any_name(project: Project) -> None:
    data = f"with space, 'quote' and é {'x' * 100}"
    with project.up("--workers", "0", "--data", data) as up:
        assert "TRILHO_DATABASE_URL" in project.trilho("env", "--data", data).stdout
        assert up.stop() == 0


def test_a_folder_that_cannot_be_made_is_one_clear_line(project: Project) -> None:
    done = project.trilho("up", "-A", "shop", "--data", "/proc/none")
    assert done.returncode == 1
    assert done.stderr.startswith("trilho: ")
    assert len(done.stderr.splitlines()) == 1


def _is_sleep(pid: int) -> bool:
    return b"sleep" in (Path(f"/proc/{pid}/cmdline").read_bytes() if Path(f"/proc/{pid}").exists() else b"")
