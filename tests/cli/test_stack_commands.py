"""What another shell can do with a running stack."""

import json
import os
import shlex
import smtplib
import subprocess
import sys
from urllib.parse import urlsplit
from urllib.request import urlopen

import psycopg
import pytest
import redis

from tests.cli.project import Project, Up
from tests.lab.poll import eventually
from trilho.embedded.ports import HOST

# One stack for the whole file, so one test process for it.
pytestmark = pytest.mark.xdist_group("running-stack")

Stack = tuple[Project, Up]


def exported(project: Project) -> dict[str, str]:
    lines = project.trilho("env").stdout.splitlines()
    assert all(line.startswith("export TRILHO_") for line in lines)
    return dict(shlex.split(line)[1].split("=", 1) for line in lines)


def test_api_answers_at_the_url_that_was_printed(stack: Stack) -> None:
    project, up = stack
    url = f"http://127.0.0.1:{project.port}"
    assert f"API      {url}" in up.text()
    with urlopen(url, timeout=5) as response:
        assert response.read() == b"hello"


def test_ps_lists_every_process_with_kind_pid_state_and_uptime(stack: Stack) -> None:
    project, _ = stack
    found = project.ps()
    kinds = {name: process["kind"] for name, process in found.items()}
    assert kinds == {
        "postgres": "postgres",
        "valkey": "valkey",
        "mail": "mail",
        "api": "api",
        "worker": "worker",
        "worker-2": "worker",
    }
    for process in found.values():
        assert process["state"] == "running"
        assert process["uptime"] > 0
        os.kill(process["pid"], 0)


def test_ps_prints_a_table_for_people(stack: Stack) -> None:
    project, _ = stack
    header, *rows = project.trilho("ps").stdout.splitlines()
    assert header.split() == ["NAME", "KIND", "PID", "STATE", "UPTIME"]
    assert [row.split()[0] for row in rows] == ["postgres", "valkey", "mail", "api", "worker", "worker-2"]


def test_env_joins_another_shell_to_the_stack(stack: Stack) -> None:
    project, _ = stack
    variables = exported(project)
    with psycopg.connect(variables["TRILHO_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM trilho.processes").fetchone() is not None
    with redis.Redis.from_url(variables["TRILHO_BROKER_URL"]) as client:
        assert client.ping()
    with smtplib.SMTP(HOST, urlsplit(variables["TRILHO_SMTP_URL"]).port or 0, local_hostname="test") as mail:
        mail.sendmail("a@example.com", ["b@example.com"], "Subject: joined\r\n\r\n")
    assert "joined" in next((project.folder / ".trilho" / "mail").glob("*.eml")).read_text()
    assert "mail.kept" in project.trilho("logs", "mail").stdout
    assert project.json("env") == variables


def test_celery_in_a_joined_shell_reaches_the_workers(stack: Stack) -> None:
    project, _ = stack
    script = 'eval "$("$0" -m trilho.cli env)"; "$0" -m celery -A "$TRILHO_APP" inspect ping -j'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert {name.partition("@")[0] for name in json.loads(done.stdout)} == {"worker", "worker-2"}, done.stderr


def test_logs_show_each_line_behind_the_name_of_its_process(stack: Stack) -> None:
    project, _ = stack
    lines = project.trilho("logs", "worker", "worker-2", "--tail", "5").stdout.splitlines()
    assert {line.split("|")[0].strip() for line in lines} == {"worker", "worker-2"}
    assert len(lines) == 10


def test_logs_of_all_processes_when_none_is_named(stack: Stack) -> None:
    project, _ = stack
    lines = project.trilho("logs").stdout.splitlines()
    assert {"postgres", "api", "worker", "trilho"} <= {line.split("|")[0].strip() for line in lines}


def test_logs_of_an_unknown_process_name_the_known_ones(stack: Stack) -> None:
    project, _ = stack
    done = project.trilho("logs", "worker-9")
    assert done.returncode == 1
    assert done.stderr.startswith("trilho: no process is called 'worker-9'; there are ")
    assert "worker-2" in done.stderr


def test_logs_are_followed(stack: Stack) -> None:
    project, _ = stack
    output = project.folder / "followed.out"
    with output.open("w") as file:
        follower = subprocess.Popen(
            [sys.executable, "-m", "trilho.cli", "logs", "api", "--tail", "0", "-f"],
            cwd=project.folder,
            env=project.environment(),
            stdout=file,
        )

    def request_is_seen() -> bool:
        urlopen(f"http://127.0.0.1:{project.port}/look-for-me", timeout=5).close()
        return "look-for-me" in output.read_text()

    try:
        eventually(request_is_seen, every=0.3)
    finally:
        follower.kill()
        follower.wait()


def test_scale_starts_and_stops_workers(stack: Stack) -> None:
    project, up = stack
    assert project.json("scale", "4")["workers"] == ["worker", "worker-2", "worker-3", "worker-4"]
    assert project.trilho("scale", "2").stdout.splitlines()[0] == "2 workers: worker, worker-2"
    usual = ["api", "mail", "postgres", "valkey", "worker", "worker-2"]
    eventually(lambda: sorted(project.ps()), lambda names: names == usual)
    assert "scaling from 2 to 4 workers" in up.text()
    up.wait_for("worker-4 has stopped")


def test_a_dispatcher_alone_joins_the_stack_and_ends_on_sigterm(stack: Stack) -> None:
    project, _ = stack
    dispatcher = subprocess.Popen(
        [sys.executable, "-m", "trilho.cli", "dispatcher"],
        cwd=project.folder,
        env=project.environment(),
        stderr=subprocess.DEVNULL,
    )
    with psycopg.connect(exported(project)["TRILHO_DATABASE_URL"], autocommit=True) as connection:
        query = "SELECT state FROM trilho.processes WHERE kind = 'dispatcher' AND pid = %s"

        def states() -> list[tuple[str]]:
            return connection.execute(query, (dispatcher.pid,)).fetchall()

        eventually(states, lambda found: found == [("running",)], timeout=30)
        dispatcher.terminate()
        assert dispatcher.wait(20) == 0


def test_call_waits_for_the_result(stack: Stack) -> None:
    project, _ = stack
    done = project.trilho("call", "shop.add", "--args", "[2, 3]", "--wait")
    assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr


def test_call_of_a_failing_job_is_one_line_and_exit_code_1(stack: Stack) -> None:
    project, _ = stack
    done = project.trilho("call", "shop.fail", "--wait")
    assert done.returncode == 1
    assert "is FAILURE" in done.stderr
    assert "no such thing" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [("--args", "{", "is not JSON"), ("--args", "{}", "list"), ("--kwargs", "[]", "object")],
)
def test_arguments_that_cannot_be_used_are_named(stack: Stack, option: str, text: str, reason: str) -> None:
    project, _ = stack
    done = project.trilho("call", "shop.add", option, text)
    assert done.returncode == 1
    assert done.stderr.startswith(f"trilho: {option} ")
    assert reason in done.stderr


def test_arguments_that_cannot_be_stored_are_refused_in_one_line(stack: Stack) -> None:
    project, _ = stack
    done = project.trilho("call", "shop.add", "--args", "[" * 300 + "]" * 300)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "argument 0 of shop.add cannot be stored as JSON: nested deeper than 200 levels" in done.stderr


def test_jobs_are_listed_shown_and_run_again(stack: Stack) -> None:
    project, _ = stack
    job = project.json("call", "shop.fail", "--kwargs", "{}")["id"]
    assert project.trilho("jobs", "wait", job, "--timeout", "20").returncode == 1
    listed = project.json("jobs", "list", "--state", "failure", "--task", "shop.fail", "--limit", "1")
    assert [one["id"] for one in listed["items"]] == [job]
    shown = project.json("jobs", "show", job)
    assert shown["state"] == "FAILURE"
    assert "ValueError" in shown["attempts"][0]["error"] + str(shown["attempts"][0]["traceback"])
    assert project.json("jobs", "retry", job)["state"] == "PENDING"
    eventually(lambda: project.json("jobs", "show", job)["attempts"], lambda attempts: len(attempts) == 2, every=0.3)
    assert "shop.fail" in project.trilho("jobs", "list").stdout
    assert "FAILURE" in project.trilho("jobs", "show", job).stdout


def test_a_waiting_job_is_cancelled(stack: Stack) -> None:
    project, _ = stack
    job = project.json("call", "nobody.knows.this")["id"]
    assert project.trilho("jobs", "cancel", job).stdout.strip() == f"{job} is REVOKED"
    done = project.trilho("jobs", "cancel", job)
    assert done.returncode == 1
    assert "REVOKED" in done.stderr


@pytest.mark.parametrize("command", ["show", "retry", "cancel", "wait"])
def test_an_unknown_job_is_one_clear_line(stack: Stack, command: str) -> None:
    project, _ = stack
    done = project.trilho("jobs", command, "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("trilho: no job has the id 'nothing'")
    assert len(done.stderr.splitlines()) == 1


def test_waiting_ends_at_the_time_limit(stack: Stack) -> None:
    project, _ = stack
    job = project.json("call", "nobody.knows.this")["id"]
    done = project.trilho("jobs", "wait", job, "--timeout", "0.2")
    assert done.returncode == 1
    assert "is PENDING after 0.2 s" in done.stderr
    project.trilho("jobs", "cancel", job)
