"""The files by which other shells know and steer a stack."""

import stat
import time
from pathlib import Path

import pytest

from trilho.cli import control
from trilho.cli.stack import NoStack, ProcessInfo, Stack
from trilho.embedded.folder import FolderLock
from trilho.settings import STACK_FILE, load, running_stack


def stack_in(data: Path, pid: int = 1) -> Stack:
    info = ProcessInfo("worker", "worker-2", 7, "running", time.time())
    database, broker = "postgresql://user:secret@host/db", "redis://host"
    return Stack(pid, "shop", str(data), database, broker, kafka_bootstrap="127.0.0.1:9092", processes=(info,))


def test_a_stack_is_read_as_it_was_written(tmp_path: Path) -> None:
    stack = stack_in(tmp_path)
    stack.write()
    assert Stack.read(tmp_path) == stack


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    stack_in(tmp_path).write()
    assert stat.S_IMODE((tmp_path / STACK_FILE).stat().st_mode) == 0o600


def test_settings_join_the_stack_that_the_file_describes(tmp_path: Path) -> None:
    stack_in(tmp_path, pid=1).write()
    assert running_stack(tmp_path)["app"] == "shop"
    settings = load(data=tmp_path)
    assert (settings.broker_url, settings.kafka_bootstrap) == ("redis://host", "127.0.0.1:9092")


def test_a_stack_counts_as_running_only_while_its_folder_is_held(tmp_path: Path) -> None:
    stack_in(tmp_path).write()
    with pytest.raises(NoStack, match="trilho up"):
        Stack.running(tmp_path)
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    assert Stack.running(tmp_path).app == "shop"
    lock.release()
    with pytest.raises(NoStack):
        Stack.running(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"pid": 1, "processes": [{}]}'])
def test_a_damaged_file_is_no_stack(tmp_path: Path, text: str) -> None:
    (tmp_path / STACK_FILE).write_text(text)
    assert Stack.read(tmp_path) is None


def test_what_was_asked_is_taken_once(tmp_path: Path) -> None:
    control.request(tmp_path, {"worker": 4})
    assert control.pending(tmp_path)
    assert control.take(tmp_path) == {"worker": 4}
    assert control.take(tmp_path) == {}
    assert not control.pending(tmp_path)


def test_what_was_asked_of_an_earlier_stack_is_forgotten(tmp_path: Path) -> None:
    control.request(tmp_path, {"worker": 4})
    control.forget(tmp_path)
    assert control.take(tmp_path) == {}


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not first.held()
    assert first.acquire()
    assert second.held()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
