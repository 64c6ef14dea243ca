"""Commands without a stack: help, errors, and what `api` and `worker` run."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.project import Project
from tests.lab import database as databases
from trilho.cli.finder import load_app
from trilho.cli.root import cli
from trilho.cli.services import check_binding
from trilho.errors import ConfigurationError
from trilho.settings import Settings


@pytest.mark.parametrize("arguments", [["ps"], ["logs"], ["scale", "2"], ["env"]])
def test_without_a_running_stack_it_is_one_clear_line(project: Project, arguments: list[str]) -> None:
    done = project.trilho(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("trilho: no stack runs in .trilho: start one with `trilho up`")
    assert len(done.stderr.splitlines()) == 1


def test_data_names_another_folder(project: Project) -> None:
    assert "no stack runs in elsewhere" in project.trilho("ps", "--data", "elsewhere").stderr
    assert "no stack runs in elsewhere" in project.trilho("ps", TRILHO_DATA="elsewhere").stderr


def test_without_an_app_the_ways_to_name_one_are_told(project: Project) -> None:
    done = project.trilho("migrate")
    assert done.returncode == 1
    assert "-A" in done.stderr
    assert "TRILHO_APP" in done.stderr


def test_without_urls_and_stack_the_variable_is_named(project: Project) -> None:
    done = project.trilho("migrate", "-A", "shop")
    assert done.returncode == 1
    assert done.stderr.startswith("trilho: TRILHO_DATABASE_URL is not set")
    assert len(done.stderr.splitlines()) == 1


def test_an_app_that_is_plain_celery_is_refused_by_name(project: Project) -> None:
    (project.folder / "plain.py").write_text("from celery import Celery\napp = Celery('plain')\n")
    done = project.trilho("migrate", "-A", "plain")
    assert done.returncode == 1
    assert "is a Celery, not a Trilho app" in done.stderr


def test_an_error_inside_the_app_is_told_with_its_place(project: Project) -> None:
    (project.folder / "wrong.py").write_text("import os\n\nos.nothing()\n")
    done = project.trilho("migrate", "-A", "wrong")
    assert done.returncode == 1
    assert "AttributeError" in done.stderr
    assert "(wrong.py, line 3)" in done.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [("attributes:nope", "has no attribute 'nope'"), ("breaking:app", r"no attribute 'nothing'.*line 2")],
)
def test_a_missing_attribute_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str) -> None:
    (tmp_path / "attributes.py").write_text("")
    (tmp_path / "breaking.py").write_text("import os\nos.nothing()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=told):
        load_app(name, tmp_path)


def test_jobs_of_a_state_that_there_is_not_are_refused() -> None:
    refused = CliRunner().invoke(cli, ["jobs", "list", "--state", "BOGUS"])
    assert refused.exit_code == 2
    assert "REVOKED" in refused.stderr


def test_migrate_creates_the_schema(project: Project, postgres_server: str) -> None:
    url = databases.create(postgres_server)
    try:
        done = project.trilho("migrate", "-A", "shop", TRILHO_DATABASE_URL=url)
        assert (done.returncode, done.stdout) == (0, "the database is up to date\n"), done.stderr
        with databases.connect(url) as connection:
            connection.execute("SELECT id FROM trilho.jobs")
    finally:
        databases.drop(url)


def test_a_database_that_does_not_answer_is_one_clear_line(project: Project) -> None:
    done = project.trilho("jobs", "list", "-A", "shop", TRILHO_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("trilho: the database does not answer: ")
    assert "127.0.0.1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_worker_runs_celery_and_passes_its_options_on(project: Project) -> None:
    done = project.trilho("worker", "-A", "shop", "--no-such-option", "1", TRILHO_DATABASE_URL="postgresql://any")
    assert done.returncode == 2
    assert "celery" in done.stderr
    assert "no-such-option" in done.stderr


def test_worker_without_a_database_says_so_in_one_line(project: Project) -> None:
    done = project.trilho("worker", "-A", "shop")
    assert done.returncode == 1
    assert "set TRILHO_DATABASE_URL" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_api_is_not_bound_off_loopback_without_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="TRILHO_API_KEY"):
        check_binding(host, Settings())
    check_binding(host, Settings(api_key="secret"))
    check_binding(host, Settings(api_keyless=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_api_may_be_bound_to_loopback_without_a_key(host: str) -> None:
    check_binding(host, Settings())


def test_api_refuses_before_it_listens(project: Project) -> None:
    done = project.trilho("api", "web:api", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "set TRILHO_API_KEY" in done.stderr


def test_every_command_has_help(project: Project) -> None:
    listed = project.trilho("--help").stdout
    for command in (
        "up",
        "api",
        "worker",
        "dispatcher",
        "mail",
        "migrate",
        "ps",
        "logs",
        "scale",
        "env",
        "call",
        "jobs",
    ):
        assert f" {command} " in listed
        assert project.trilho(command, "--help").returncode == 0


def test_commands_that_start_no_server_need_no_embedded_extra(project: Project) -> None:
    without = "import sys; sys.modules['psutil'] = None; from trilho.cli import main; main()"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", without, *arguments],
            cwd=project.folder,
            env=project.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("ps").stderr.startswith("trilho: no stack runs")
    assert 'pip install "trilho[embedded]"' in run("up", "-A", "shop").stderr


def test_what_reads_the_pipe_may_leave(project: Project) -> None:
    script = '"$0" -m trilho.cli --help | true'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_the_data_folder_is_private(project: Project) -> None:
    project.trilho("up", "-A", "nowhere")
    folder = project.folder / ".trilho"
    assert stat.S_IMODE(folder.stat().st_mode) & 0o066 == 0
    assert stat.S_IMODE((folder / "logs").stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    assert Path(folder / "postgres" / "password").stat().st_uid == os.getuid()
