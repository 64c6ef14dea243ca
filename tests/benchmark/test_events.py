"""The benchmark of the events measures what it says; how fast anything is, is no test's business."""

import json

import psycopg
from bench import peers
from bench.events import age, report
from bench.events.order import PARTITIONS, TOPIC, Order, fields
from bench.events.stacks import TrilhoStack
from bench.figures import Rounds

BYTES = 110


def test_an_event_has_five_fields_and_the_bytes_that_the_page_says() -> None:
    assert len(Order.model_fields) == 5
    assert {len(json.dumps(fields(n), separators=(",", ":"))) for n in (0, 999_999)} == {BYTES}


def test_the_peers_have_versions() -> None:
    assert [len(peers.version(name).split(".")) for name in ("faststream", "dbos", "pgqueuer")] == [3] * 3


def test_what_is_missed_is_called_missed() -> None:
    rounds = Rounds()
    rounds.add("raw", {"consume": 100_000})
    rounds.add("faststream", {"consume": 3_000})
    rounds.add("kafka", {"consume": 69_000, "relay": 50_000})
    lines = report.ratios(rounds, ["raw", "faststream", "kafka"])
    judged = {line.split("|")[1].strip(): "missed" in line for line in lines[2:]}
    assert judged["typed consume / FastStream"] is False
    assert judged["typed consume / raw confluent-kafka"] is True
    assert judged["relay [events/s]"] is False


def test_a_row_of_every_figure_is_printed_also_where_a_stack_has_none() -> None:
    rounds = Rounds()
    rounds.add("raw", {"consume": 1.0})
    lines = report.comparison(rounds, ["raw"])
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(report.ROWS.values())


def test_history_that_is_made_up_can_be_read(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for partition in range(PARTITIONS):
            connection.execute(
                "INSERT INTO trilho.log_partitions (topic, partition) VALUES (%s, %s)", (TOPIC, partition)
            )
        connection.execute(age.FILL, {"rows": 60, "topic": TOPIC, "data": b"{}"})
        row = connection.execute('SELECT count(*), max("offset") FROM trilho.log').fetchone()
        assert row == (60, 9)


def test_events_go_from_publisher_to_consumer_and_every_figure_is_there(database: str) -> None:
    stack = TrilhoStack({"TRILHO_DATABASE_URL": database, "TRILHO_BROKER_URL": "memory://"})
    with stack.dispatcher():
        assert stack.relay(1000) > 0
    assert {name for name, value in stack.consume(500).items() if value > 0} == {"consume", "cpu"}
