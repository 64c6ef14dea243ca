"""`trilho topics | events | groups` on the PostgreSQL log: what is printed, and what is refused in one line."""

import json
import os
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.lab import database as databases
from trilho import Trilho
from trilho.cli.root import cli

Run = Callable[..., Result]
DEAD = """INSERT INTO trilho.dead_letters ("group", topic, partition, "offset", id, key, type, time, attributes, data,
          content_type, attempts, error)
          VALUES ('g', 'orders', 0, 7, 'e-1', 'k', 'placed', now(), '{}', '{}', 'application/json', 1, 'x')"""


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
    fewer = run("topics", "create", "orders", "--partitions", "1")
    assert (fewer.exit_code, fewer.stdout) == (1, "")
    assert fewer.stderr == "trilho: topic 'orders' has 3 partitions, and they only grow: not 1\n"
    assert run("topics", "create", "orders").stdout == "orders has 3 partitions\n"
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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("topics create orders --partitions 1000000", "or equal to 1000"),
        ("topics create orders --days 1e30", "trilho: events are kept for more than 0 and up to 36500 days, not 1e+30"),
        ("topics create orders --days nan", "trilho: events are kept for more than 0 and up to 36500 days, not nan"),
        ("topics create orders --days 0", "trilho: events are kept for more than 0 and up to 36500 days, not 0"),
        ("dead-letters show 99999999999999999999", "or equal to 9223372036854775807"),
        ("dead-letters replay 99999999999999999999", "or equal to 9223372036854775807"),
        ("events show orders 0 99999999999999999999", "or equal to 9223372036854775807"),
        ("events tail orders --partition 9999999999", "or equal to 2147483647"),
        ("groups reset g orders --to ²", "is neither earliest, latest, an offset nor a time"),
        ("events produce orders {} --type a\0b", "trilho: type must be a text of 1 to 255 characters without NUL"),
    ],
)
def test_value_that_cannot_be_is_refused_with_what_can(run: Run, arguments: str, told: str) -> None:
    refused = run(*arguments.split(" "))
    assert refused.exit_code in {1, 2}
    assert refused.exception is None or isinstance(refused.exception, SystemExit)
    assert told in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize(("verb", "done"), [("replay", "replayed"), ("discard", "discarded")])
def test_dead_letter_that_is_not_open_fails_the_command_and_is_named(run: Run, verb: str, done: str) -> None:
    unknown = run("dead-letters", verb, "99")
    assert (unknown.exit_code, unknown.stdout) == (1, f"0 {done}\n")
    assert unknown.stderr == "trilho: there is no dead letter 99\n"
    with databases.connect(os.environ["TRILHO_DATABASE_URL"]) as connection:
        connection.execute(DEAD)
    some = run("dead-letters", verb, "1", "99")
    assert (some.exit_code, some.stdout) == (1, f"1 {done}\n")
    assert some.stderr == "trilho: there is no dead letter 99\n"
    again = run("dead-letters", verb, "1")
    assert (again.exit_code, again.stdout) == (1, f"0 {done}\n")
    assert again.stderr.startswith(f"trilho: dead letter 1 was {done} at ")
