"""`trilho topics | events …`: what is in the log, and events published by hand."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from trilho.cli.finder import load_app
from trilho.cli.options import DEFAULT_DATA, MAX_BIGINT, MAX_INTEGER, AppOption, DataOption, JsonOption
from trilho.cli.output import fail, print_items, print_json, print_table
from trilho.cli.values import parsed
from trilho.events.topic import MAX_PARTITIONS, PARTITIONS

TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC")]

topics = typer.Typer(no_args_is_help=True, help="Look at topics, and make them.")
events = typer.Typer(no_args_is_help=True, help="Look at events, and publish them.")


@topics.command("list")
def list_topics(app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """List topics."""
    found = load_app(app, data).streams.topics()
    print_items(
        found,
        ("topic", "partitions", "events", "kept for"),
        lambda t: (t.name, t.partitions, t.events, _retention(t.retention_seconds)),
        as_json=as_json,
    )


@topics.command()
def create(
    topic: TopicArgument,
    *,
    partitions: Annotated[
        int | None,
        typer.Option("--partitions", min=1, max=MAX_PARTITIONS, help=f"A new topic has {PARTITIONS} unless given."),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option("--days", help="Keep events for so long; a new topic keeps them for ever unless given."),
    ] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Make a topic, or give it more partitions."""
    try:
        before = load_app(app, data).streams.create(topic, partitions, days)
    except ValueError as error:
        fail(error)
    now = partitions or before or PARTITIONS
    typer.echo(f"{topic} has {now} partitions")
    if 0 < before < now:
        typer.echo(
            f"warning: it had {before}, so keys have moved: an event of a key may be handled before older ones of it",
            err=True,
        )


@topics.command()
def describe(
    topic: TopicArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Show the partitions of a topic."""
    found, partitions = load_app(app, data).streams.topic(topic)
    if as_json:
        print_json(asdict(found) | {"partitions": [asdict(partition) for partition in partitions]})
        return
    typer.echo(f"{found.name}: {found.partitions} partitions, kept for {_retention(found.retention_seconds)}")
    print_table(("partition", "first", "next"), [(p.partition, p.first_offset, p.next_offset) for p in partitions])


@events.command()
def tail(
    topic: TopicArgument,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 10,
    partition: Annotated[int | None, typer.Option("--partition", min=0, max=MAX_INTEGER)] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Show the newest events of a topic, newest first."""
    found = load_app(app, data).streams.tail(topic, limit, partition)
    print_items(
        found,
        ("partition", "offset", "time", "type", "key", "data"),
        lambda e: (e.partition, e.offset, f"{e.time:%Y-%m-%d %H:%M:%S}", e.type, e.key, _short(e.data)),
        as_json=as_json,
    )


@events.command()
def show(
    topic: TopicArgument,
    partition: Annotated[int, typer.Argument(min=0, max=MAX_INTEGER)],
    offset: Annotated[int, typer.Argument(min=0, max=MAX_BIGINT)],
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Show one event whole, as JSON."""
    found = load_app(app, data).streams.event(topic, partition, offset)
    if found is None:
        fail(f"topic {topic!r} has no event at offset {offset} of partition {partition}")
    print_json(asdict(found))


@events.command()
def produce(
    topic: TopicArgument,
    text: Annotated[str, typer.Argument(metavar="JSON", help="The data of the event.")],
    *,
    key: Annotated[str | None, typer.Option("--key")] = None,
    kind: Annotated[str | None, typer.Option("--type")] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Publish one event."""
    value = parsed("the data", text)
    try:
        typer.echo(load_app(app, data).bus.publish(topic, value, key=key, type=kind).id)
    except ValueError as error:
        fail(error)


@events.command()
def outbox(app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """Show what was published and waits for the relay, and who relays."""
    found = load_app(app, data).streams.outbox()
    if as_json:
        print_json(asdict(found))
        return
    print_table(
        ("topic", "events", "oldest"), [(w.topic, w.events, f"{w.oldest:%Y-%m-%d %H:%M:%S}") for w in found.waiting]
    )
    typer.echo(f"relayed by {', '.join(found.relays) or 'nobody: start a worker or `trilho dispatcher`'}")
    if found.trouble:
        typer.echo(found.trouble)


def _retention(seconds: float | None) -> str:
    return "ever" if seconds is None else f"{seconds / 86_400:g} days"


def _short(data: Any) -> str:
    text = data if isinstance(data, (str, bytes)) else json.dumps(data, default=str, ensure_ascii=False)
    return str(text)[:200]
