"""`trilho groups | dead-letters | parked …`: how far consumer groups are, and what they could not handle."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from trilho.cli.finder import load_app
from trilho.cli.options import DEFAULT_DATA, MAX_BIGINT, MAX_INTEGER, AppOption, DataOption, JsonOption
from trilho.cli.output import fail, print_items, print_json
from trilho.events.admin import Streams
from trilho.events.reset import ResetTarget

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP")]
TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC")]
NumbersArgument = Annotated[
    list[int], typer.Argument(metavar="NUMBER…", min=1, max=MAX_BIGINT, help="Numbers of dead letters.")
]
LaneArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key as `parked list` shows it.")]

groups = typer.Typer(no_args_is_help=True, help="Look at consumer groups, and let them read from elsewhere.")
dead_letters = typer.Typer(no_args_is_help=True, help="Look at events that were given up, replay or discard them.")
parked = typer.Typer(no_args_is_help=True, help="Look at keys that wait because an event failed; retry or skip it.")


@groups.command("list")
def list_groups(app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """List consumer groups."""
    found = load_app(app, data).streams.groups()
    print_items(
        found,
        ("group", "state", "members", "lag", "parked keys", "dead letters", "topics"),
        lambda g: (
            f"{g.name} (foreign)" if g.foreign else g.name,
            g.state.lower(),
            g.members,
            g.lag,
            g.parked_keys,
            g.dead_letters,
            ", ".join(g.topics),
        ),
        as_json=as_json,
    )


@groups.command()
def lag(
    group: GroupArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Show how far a group is behind in each partition."""
    found = load_app(app, data).streams.lag(group)
    print_items(
        found,
        ("topic", "partition", "offset", "end", "lag", "log", "member"),
        lambda r: (r.topic, r.partition, r.offset, r.end, r.lag, r.log, r.member),
        as_json=as_json,
    )


@groups.command()
def members(
    group: GroupArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Show the processes that read for a group."""
    found = load_app(app, data).streams.members(group)
    print_items(found, ("name", "host", "pid"), lambda m: (m.name, m.hostname, m.pid or "foreign"), as_json=as_json)


@groups.command()
def reset(
    group: GroupArgument,
    topic: TopicArgument,
    *,
    to: Annotated[str, typer.Option("--to", help="earliest, latest, an offset, or a time as 2026-01-31T12:00+00:00.")],
    partition: Annotated[int | None, typer.Option("--partition", min=0, max=MAX_INTEGER)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Let a group read from another place; refused while it has members."""
    found = load_app(app, data).streams.reset(group, topic, _target(to, partition), dry_run)
    print_items(
        found, ("topic", "partition", "from", "to"), lambda r: (r.topic, r.partition, r.before, r.to), as_json=as_json
    )
    if dry_run and not as_json:
        typer.echo("nothing was changed")


@dead_letters.command("list")
def list_dead_letters(
    *,
    group: Annotated[str | None, typer.Option("--group")] = None,
    topic: Annotated[str | None, typer.Option("--topic")] = None,
    settled: Annotated[bool, typer.Option("--settled", help="Replayed and discarded ones, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """List events that a group gave up, newest first."""
    found = load_app(app, data).streams.dead_letters(group, topic, settled=settled, limit=limit)
    print_items(
        found,
        ("number", "group", "topic", "key", "attempts", "settled", "error"),
        lambda x: (x.number, x.group, x.topic, x.key, x.attempts, x.settled_as, x.error[:100]),
        as_json=as_json,
    )


@dead_letters.command()
def show(
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=MAX_BIGINT)],
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Show one dead letter whole, as JSON."""
    found = load_app(app, data).streams.dead_letter(number)
    if found is None:
        fail(f"there is no dead letter {number}")
    print_json(asdict(found))


@dead_letters.command()
def replay(numbers: NumbersArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA) -> None:
    """Let the groups handle dead letters again, in their order."""
    streams = load_app(app, data).streams
    _settle(streams, numbers, streams.replay, "replayed")


@dead_letters.command()
def discard(numbers: NumbersArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA) -> None:
    """Settle dead letters without handling them."""
    streams = load_app(app, data).streams
    _settle(streams, numbers, streams.discard, "discarded")


@parked.command("list")
def list_parked(
    *,
    group: Annotated[str | None, typer.Option("--group")] = None,
    topic: Annotated[str | None, typer.Option("--topic")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """List keys that wait because an event of theirs failed."""
    found = load_app(app, data).streams.parked(group, topic, limit)
    print_items(
        found,
        ("group", "topic", "key", "events", "attempts", "next try", "error"),
        lambda k: (k.group, k.topic, k.lane, k.events, k.attempts, k.next_try or "a person decides", k.error),
        as_json=as_json,
    )


@parked.command("retry")
def retry_parked(
    group: GroupArgument,
    topic: TopicArgument,
    key: LaneArgument,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Try the first event of a key now."""
    _told(load_app(app, data).streams.retry_parked(group, topic, key), key, "is tried again")


@parked.command()
def skip(
    group: GroupArgument,
    topic: TopicArgument,
    key: LaneArgument,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Make the first event of a key a dead letter; what waits behind it goes on."""
    _told(load_app(app, data).streams.skip_parked(group, topic, key), key, "goes on behind its first event")


def _settle(streams: Streams, numbers: Sequence[int], verb: Callable[[Sequence[int]], int], done: str) -> None:
    """Do it to those that are open; for any other the command fails, and says why."""
    refused = {number: why for number in dict.fromkeys(numbers) if (why := _refusal(streams, number)) is not None}
    typer.echo(f"{verb([number for number in numbers if number not in refused])} {done}")
    if refused:
        fail("; ".join(refused.values()))


def _refusal(streams: Streams, number: int) -> str | None:
    letter = streams.dead_letter(number)
    if letter is None:
        return f"there is no dead letter {number}"
    if letter.settled_at is not None:
        return f"dead letter {number} was {letter.settled_as} at {letter.settled_at:%Y-%m-%d %H:%M:%S}"
    return None


def _told(there: bool, key: str, done: str) -> Any:
    if not there:
        fail(f"no key {key!r} waits there")
    typer.echo(f"{key} {done}")


def _target(to: str, partition: int | None) -> ResetTarget:
    if to in ("earliest", "latest"):
        return ResetTarget("earliest" if to == "earliest" else "latest", partition=partition)
    if to.isdecimal():
        return ResetTarget("offset", offset=int(to), partition=partition)
    try:
        when = datetime.fromisoformat(to)
    except ValueError:
        fail(f"--to {to!r} is neither earliest, latest, an offset nor a time")
    if when.tzinfo is None:
        fail(f"--to {to!r} has no time zone: write {to}+00:00")
    return ResetTarget("time", time=when, partition=partition)
