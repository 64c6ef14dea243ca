"""The rounds of the events, and their tables."""

from collections.abc import Callable, Mapping, Sequence

from bench import machine, peers
from bench.events import age
from bench.events.servers import Servers, servers
from bench.events.stacks import Load, Peer, Stack, TrilhoStack
from bench.figures import Figures, Rounds, Summary, in_turns
from bench.measure import TIMES
from bench.notes import note
from bench.peers import NoPeers
from bench.table import compact, factor, markdown, number
from trilho.embedded.kafka import VERSION

LIBRARIES = ("trilho", "confluent-kafka", "psycopg", "SQLAlchemy", "pydantic")
TITLES = {
    "raw": "raw confluent-kafka",
    "faststream": "FastStream",
    "kafka": "Trilho on Kafka",
    "postgres": "Trilho on PostgreSQL",
}
ROWS = {
    "alone": "publish, one by one, each durable [events/s]",
    "twenties": "the same, 20 in each transaction [events/s]",
    "many": "publish, many at once [events/s]",
    "relay": "relay, outbox to log [events/s]",
    "consume": "consume, commit every 500 [events/s]",
    "cpu": "the same, CPU of the consumer process [µs/event]",
    "consume_default": "consume, all defaults (`batch=100`) [events/s]",
    "consume_untold": "consume, commit every 500, `timeline=False` [events/s]",
    "p50": "commit to handler, idle, p50 [ms]",
    "p99": "the same, p99 [ms]",
}
ASKED = (("faststream", 20.0), ("raw", 0.7))
"""Trilho's consumer against these, at least."""
ASKED_RELAY = 50_000

HOW = """\
An event has five fields (110 bytes of JSON) and one of 1,000 keys; topics have six partitions; one consumer process
each, everything on the cores named above. A round visits all stacks, in changing order; cells are medians of {rounds}
rounds with least and greatest, ratios are medians of the rounds' ratios.

- raw confluent-kafka: `consume(500)`, `json.loads`, a function that does nothing, a commit; no types, at least once.
  Like FastStream it keeps no timeline.
- FastStream {faststream} (confluent): a typed `async def` handler that does nothing, each event acknowledged. Produced
  one by one with confirmation; "many at once" is `no_confirm` and a wait for all at the end.
- Trilho: `trilho dispatcher` and `trilho consumer` with their defaults, the same handler; effects once: each batch is a
  transaction of PostgreSQL that moves the offset, on either log. Publishing writes the outbox, durably, and is the same
  on both logs. "many at once" is `publish_many` of 1,000.
- Relay: from the commit of a backlog of {events} events until the outbox is empty. Consuming: from the twentieth part
  of the events on, handler to handler, by the clock of the consumer's process.
- Commit to handler: single events, 10 ms apart, from the return of `publish()` to the call of the handler."""

HOW_AGED = """\
One measurement each, of {events} events, after another on one database. The idle session has an open transaction while
three such backlogs pass; older events are in the same topic, and the consumer reads it from the beginning."""


def report(rounds: int, events: int) -> list[str]:
    """Every table, with what one has to know to read it."""
    load = Load(rounds, events)
    with servers() as ours:
        stacks, missing = _stacks(ours)
        head = ["# Events", "", *machine.describe(ours.stand, LIBRARIES), *_kafka(ours), *missing, ""]
        figures = _measured(stacks, load)
    parts = [comparison(figures, list(stacks)), ratios(figures, list(stacks))]
    body = [line for part in parts for line in (*part, "")]
    return [*head, *body, HOW.format(rounds=rounds, events=f"{events:,}", faststream=peers.version("faststream"))]


def report_aged(events: int) -> list[str]:
    """What history, keys and idle sessions do to both logs."""
    with servers() as ours:
        head = ["# Events under age", "", *machine.describe(ours.stand, LIBRARIES), *_kafka(ours), ""]
        stacks = {"kafka": _trilho(ours, "kafka")} if ours.kafka else {}
        stacks["postgres"] = _trilho(ours, "postgres")
        figures = {name: age.measure(stack, Load(1, events)) for name, stack in stacks.items()}
    return [*head, *ages(figures), "", HOW_AGED.format(events=f"{events:,}")]


def _stacks(ours: Servers) -> tuple[dict[str, Stack], list[str]]:
    """What can be measured here, and a line for each that cannot."""
    stacks: dict[str, Stack] = {}
    missing = []
    if ours.kafka is None:
        missing.append(f"Without Kafka: {ours.missing}")
    else:
        stacks["raw"] = Peer("bench.events.raw", ours.kafka)
        try:
            stacks["faststream"] = Peer("bench.events.stream", ours.kafka, peers.python(), slow=True)
        except NoPeers as error:
            missing.append(f"Without FastStream, which cannot be installed here: {error}")
        stacks["kafka"] = _trilho(ours, "kafka")
    stacks["postgres"] = _trilho(ours, "postgres")
    for line in missing:
        note(line)
    return stacks, missing


def _trilho(ours: Servers, log: str) -> TrilhoStack:
    return TrilhoStack(ours.environment(f"events_{log}", kafka=log == "kafka"))


def _kafka(ours: Servers) -> list[str]:
    return [f"Kafka {VERSION}, one broker"] if ours.kafka else []


def _measured(stacks: Mapping[str, Stack], load: Load) -> Rounds:
    rounds = Rounds()
    for stack in stacks.values():
        stack.prepare(load)
    for turn, name in in_turns(list(stacks), load.rounds):
        note(f"round {turn} of {load.rounds}: {TITLES[name]}")
        rounds.add(name, stacks[name].visit(load))
    return rounds


def comparison(rounds: Rounds, stacks: Sequence[str]) -> list[str]:
    """Medians with spreads."""
    rows = [(title, *(_cell(rounds.summary(stack, key)) for stack in stacks)) for key, title in ROWS.items()]
    return markdown(("", *(TITLES[stack] for stack in stacks)), rows)


def ratios(rounds: Rounds, stacks: Sequence[str]) -> list[str]:
    """What is asked, and what was reached."""
    ours = [stack for stack in ("kafka", "postgres") if stack in stacks]
    rows = [
        (
            f"{title} / {TITLES[peer]}",
            *(_judged(rounds.ratio(key, stack, peer), asked, factor) for stack in ours),
            f"≥ {asked:g}{TIMES}",
        )
        for key, title in (("consume", "typed consume"), ("consume_untold", "typed consume, `timeline=False`"))
        for peer, asked in ASKED
        if peer in stacks
    ]
    relays = (_judged(rounds.summary(stack, "relay"), ASKED_RELAY, number) for stack in ours)
    rows.append(("relay [events/s]", *relays, f"≥ {ASKED_RELAY:,}"))
    return markdown(("", *(TITLES[stack] for stack in ours), "asked"), rows)


def ages(aged: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """Each condition once."""
    rows = [
        (f"{TITLES[name]}, {condition}", *(number(figures[key]) for key in ("relay", "consume", "p50", "p99")))
        for name, conditions in aged.items()
        for condition, figures in conditions.items()
    ]
    return markdown(("one measurement each", "relay [events/s]", "consume [events/s]", "p50 [ms]", "p99 [ms]"), rows)


def _cell(summary: Summary | None) -> str:
    return "" if summary is None else compact(summary, number)


def _judged(summary: Summary | None, asked: float, show: Callable[[float], str]) -> str:
    if summary is None:
        return ""
    missed = "" if summary.median >= asked else ", **missed**"
    return f"{compact(summary, show).strip()}{missed}"
