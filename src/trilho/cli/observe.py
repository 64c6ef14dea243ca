"""`trilho ps | logs | scale | env`: another shell looks at the running stack and steers it."""

import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trilho.cli import control, logs
from trilho.cli.member import State
from trilho.cli.options import DEFAULT_DATA, DataOption, JsonOption
from trilho.cli.output import fail, print_json, print_table
from trilho.cli.plan import CONSUMER, WORKER
from trilho.cli.stack import ProcessInfo, Stack
from trilho.cli.terminal import Terminal
from trilho.embedded.folder import FolderLock
from trilho.errors import TrilhoError

POLL = 0.1
SCALE_TIMEOUT = 60.0


def ps(data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """List the processes of the running stack."""
    processes = Stack.running(data).processes
    if as_json:
        print_json([asdict(process) | {"uptime": process.uptime()} for process in processes])
        return
    rows = ((one.name, one.kind, one.pid, one.state, _duration(one.uptime())) for one in processes)
    print_table(("name", "kind", "pid", "state", "uptime"), rows)


def show_logs(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="Processes; all unless given.")] = None,
    tail: Annotated[int, typer.Option("--tail", min=0, help="Lines of each log.")] = 100,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the stack stops.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print the logs of the processes, each line behind the name of its process."""
    Stack.running(data)
    chosen = _chosen(data, names or [])
    terminal = Terminal()
    followers = {name: logs.Follower(logs.path_of(data, name)) for name in chosen}
    for name in chosen:
        terminal.show(name, logs.tail(logs.path_of(data, name), tail))
    while follow and FolderLock(data).held():
        time.sleep(POLL)
        for name in logs.names(data) if not names else chosen:
            follower = followers.setdefault(name, logs.Follower(logs.path_of(data, name), from_start=True))
            terminal.show(name, follower.lines())


def scale(
    workers: Annotated[int | None, typer.Argument(min=0, max=100, help="How many workers in total.")] = None,
    consumers: Annotated[int | None, typer.Option("--consumers", min=0, max=100, help="And event consumers.")] = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Have N workers or consumers in the running stack; returns when they are there, and the others asked to stop."""
    Stack.running(data)
    wanted = {kind: count for kind, count in ((WORKER, workers), (CONSUMER, consumers)) if count is not None}
    if not wanted:
        raise typer.BadParameter("how many? `trilho scale 4` for workers, `trilho scale --consumers 2`")
    control.request(data, wanted)
    processes = _wait_for(data, wanted)
    running = {
        kind: [process.name for process in processes if (process.kind, process.state) == (kind, State.RUNNING)]
        for kind in wanted
    }
    leaving = [process.name for process in processes if process.state == State.STOPPING]
    if as_json:
        print_json({f"{kind}s": names for kind, names in running.items()} | {"stopping": leaving})
        return
    for kind, names in running.items():
        typer.echo(f"{len(names)} {kind}s: {', '.join(names) or 'none'}")
    if leaving:
        typer.echo(f"finishing what they have in hand, then gone: {', '.join(leaving)}")


def env(data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """Print `export` lines with which another shell joins the running stack: eval "$(trilho env)"."""
    stack = Stack.running(data)
    every = {
        "TRILHO_DATABASE_URL": stack.database_url,
        "TRILHO_BROKER_URL": stack.broker_url,
        "TRILHO_SMTP_URL": stack.smtp_url,
        "TRILHO_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "TRILHO_DATA": stack.data,
        "TRILHO_APP": stack.app,
    }
    variables = {name: value for name, value in every.items() if value}
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _wait_for(data: Path, wanted: Mapping[str, int]) -> list[ProcessInfo]:
    deadline = time.monotonic() + SCALE_TIMEOUT
    while time.monotonic() < deadline:
        processes = [process for process in Stack.running(data).processes if process.kind in wanted]
        if not control.pending(data) and all(_settled(processes, kind, count) for kind, count in wanted.items()):
            return processes
        time.sleep(POLL)
    counts = " and ".join(f"{count} {kind}s" for kind, count in wanted.items())
    raise TrilhoError(
        f"the stack does not have {counts} after {SCALE_TIMEOUT:.0f} s: see `trilho ps` and `trilho logs`"
    )


def _settled(processes: Iterable[ProcessInfo], kind: str, count: int) -> bool:
    states = [one.state for one in processes if one.kind == kind and one.state != State.STOPPING]
    return len(states) == count and all(state == State.RUNNING for state in states)


def _chosen(data: Path, names: list[str]) -> list[str]:
    known = logs.names(data)
    for name in names:
        if name not in known:
            fail(f"no process is called {name!r}; there are {', '.join(known)}")
    return names or known


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
