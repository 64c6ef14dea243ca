"""`trilho topics | events | groups` on the PostgreSQL log: what is printed, and what is refused in one line."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from trilho import Trilho
from trilho.cli.root import cli

Run = Callable[..., Result]


@pytest.fixture
def run(load: Callable[[str], Trilho]) -> Run:
    """Runs a command on an application of its own."""
    load('from trilho import Trilho\napp = Trilho("shop", broker="memory://")\n')
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_topic_is_made_grows_with_a_warning_and_is_refused_a_name_that_kafka_refuses(run: Run) -> None:
    made = run("topics", "create", "orders", "--partitions", "2", "--days", "1")
    assert (made.exit_code, made.stdout, made.stderr) == (0, "orders has 2 partitions\n", "")
    grown = run("topics", "create", "orders", "--partitions", "3")
    assert grown.stdout == "orders has 3 partitions\n"
    assert grown.stderr.startswith("warning: it had 2, so keys have moved")
    assert run("topics", "create", "orders", "--partitions", "1").stdout == "orders has 3 partitions\n"
    [topic] = json.loads(run("topics", "list", "--json").stdout)
    assert (topic["partitions"], topic["retention_seconds"]) == (3, 86_400)
    refused = run("topics", "create", "a b")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("trilho: 'a b' is no topic name")
    assert len(refused.stderr.splitlines()) == 1
    assert run("events", "produce", "a b", "{}").stderr.startswith("trilho: 'a b' is no topic name")


def test_what_was_produced_and_is_not_relayed_is_seen_in_the_outbox(run: Run) -> None:
    assert run("events", "produce", "orders", '{"n": 1}', "--key", "k").exit_code == 0
    told = run("events", "outbox")
    assert told.exit_code == 0
    assert "relayed by nobody: start a worker or `trilho dispatcher`" in told.stdout
    [waiting] = json.loads(run("events", "outbox", "--json").stdout)["waiting"]
    assert (waiting["topic"], waiting["events"]) == ("orders", 1)
    assert json.loads(run("groups", "list", "--json").stdout) == []
    assert run("groups", "lag", "nobody").exit_code == 1
