"""The embedded Valkey: private, frozen and thawed at will, durable when asked to be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.lab.processes import is_alive
from trilho.embedded import DataInUse, Valkey


@pytest.fixture
def server(folder: Path) -> Iterator[Valkey]:
    server = Valkey(folder / "data")
    server.start()
    yield server
    server.stop()


def put(server: Valkey) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.set("key", "value")


def get(server: Valkey) -> object:
    with redis.Redis.from_url(server.url(), socket_timeout=0.3) as client:
        return client.get("key")


def test_append_only_data_survives_a_kill(folder: Path) -> None:
    server = Valkey(folder, append_only=True)
    server.start()
    try:
        put(server)
        server.kill()
        server.start()
        assert get(server) == b"value"
    finally:
        server.stop()


def test_without_append_only_a_restart_forgets(server: Valkey) -> None:
    put(server)
    server.kill()
    server.start()
    assert get(server) is None


def test_a_paused_server_answers_nothing_until_it_is_resumed(server: Valkey) -> None:
    put(server)
    server.pause()
    assert server.running
    with pytest.raises(redis.TimeoutError):
        get(server)
    server.resume()
    assert get(server) == b"value"


def test_a_paused_server_can_be_stopped(server: Valkey) -> None:
    pid = server.pid
    assert pid is not None
    server.pause()
    server.stop()
    assert not is_alive(pid)


def test_it_asks_for_its_password_which_no_argument_shows(server: Valkey) -> None:
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=server.port or 0, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    password = (server.data / "password").read_text()
    assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()


def test_a_second_owner_is_refused_while_the_first_lives(server: Valkey) -> None:
    with pytest.raises(DataInUse, match="a Valkey runs in it"):
        Valkey(server.data).start()


def test_databases_are_apart(server: Valkey) -> None:
    put(server)
    with redis.Redis.from_url(server.url(1)) as other:
        assert other.get("key") is None
