"""What history, many keys, and a session that is idle in a transaction do to Trilho: one figure against itself."""

import json

import psycopg

from bench.child import ask
from bench.events.order import KEYS, TOPIC, fields
from bench.events.stacks import Load, TrilhoStack
from bench.figures import Figures
from bench.idle import idle_in_transaction

HISTORY = 1_000_000
MANY_KEYS = 10_000
CHURN = 3
"""Backlogs that pass while the session is idle: dead rows are what it costs."""

FILL = """
WITH grown AS (
    UPDATE trilho.log_partitions SET next_offset = next_offset + %(rows)s / 6 WHERE topic = %(topic)s
    RETURNING topic, partition, next_offset)
INSERT INTO trilho.log (topic, partition, "offset", id, key, type, time, attributes, data, content_type)
SELECT g.topic, g.partition, n, gen_random_uuid(), 'customer-1', 'Order', now(), '{"source":"/bench"}', %(data)s,
       'application/json'
FROM grown g CROSS JOIN LATERAL generate_series(g.next_offset - %(rows)s / 6, g.next_offset - 1) n"""


def measure(stack: TrilhoStack, load: Load) -> dict[str, Figures]:
    """The figures of each condition; history comes last, for it stays."""
    stack.prepare(load)
    figures = {f"{KEYS:,} keys": once(stack, load), f"{MANY_KEYS:,} keys": once(stack, load, MANY_KEYS)}
    with idle_in_transaction(stack.environment["TRILHO_DATABASE_URL"]):
        churn(stack, load)
        figures["a session idle in a transaction"] = once(stack, load)
    remember(stack)
    return figures | {f"{HISTORY:,} older events in the topic": once(stack, load)}


def once(stack: TrilhoStack, load: Load, keys: int = KEYS) -> Figures:
    """Relay, time single events, and read from the beginning of the topic."""
    with stack.dispatcher():
        figures = {"relay": stack.relay(load.events, keys), **stack.latency()}
    return figures | stack.consume(load.events)


def churn(stack: TrilhoStack, load: Load) -> None:
    """Let backlogs pass: their rows stay where they are as long as somebody might see them."""
    with stack.dispatcher():
        for _ in range(CHURN):
            stack.relay(load.events)


def remember(stack: TrilhoStack) -> None:
    """Make the topic old."""
    kafka = stack.environment.get("TRILHO_KAFKA_BOOTSTRAP")
    if kafka is not None:
        ask(["bench.events.raw", kafka, "produce", HISTORY, TOPIC])
        return
    with psycopg.connect(stack.environment["TRILHO_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(FILL, {"rows": HISTORY, "topic": TOPIC, "data": json.dumps(fields(0)).encode()})
        connection.execute("ANALYZE trilho.log")
