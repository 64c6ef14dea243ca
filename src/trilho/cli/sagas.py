"""`trilho sagas …`: start runs, look at them, steer them."""

import json
from typing import Annotated, Any

import typer

from trilho.app import Trilho
from trilho.cli.finder import load_app
from trilho.cli.options import DEFAULT_DATA, AppOption, DataOption, JsonOption, one_of
from trilho.cli.output import columns_of, fail, print_items, print_json, print_line, print_table
from trilho.cli.values import parsed, text_of
from trilho.errors import SagaFailed
from trilho.processes.store import known_tasks
from trilho.sagas.record import COMPENSATING, RUNNING, STATES
from trilho.sagas.store import TASK, lost
from trilho.sagas.view import LostAttempt, SagaFilter, SagaRun, SagaStep

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a run.")]

group = typer.Typer(no_args_is_help=True, help="Look at sagas, start them, signal, cancel, settle STUCK ones.")


@group.command("list")
def list_sagas(
    *,
    state: Annotated[
        str | None, typer.Option("--state", callback=one_of(STATES), help="RUNNING, WAITING, COMPENSATING, STUCK, …")
    ] = None,
    name: Annotated[str | None, typer.Option("--name")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="`next_cursor` of the page before.")] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    try:
        wanted = SagaFilter(state, name, limit, cursor)
    except ValueError as error:
        fail(error)
    page = _loaded(app, data).sagas.list(wanted)
    if as_json:
        print_json({"items": [columns_of(run) for run in page.items], "next_cursor": page.next_cursor})
        return
    rows = [(run.id, run.name, run.state, f"{run.created_at:%Y-%m-%d %H:%M:%S}", _why(run)) for run in page.items]
    print_table(("id", "name", "state", "created", "because"), rows)
    if page.next_cursor:
        typer.echo(f"more with --cursor {page.next_cursor!r}")


@group.command()
def show(
    saga_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Show one run with its history."""
    found = _loaded(app, data)
    handle = found.sagas.get(saga_id)
    run, steps, gone = handle.run(), handle.history(), found.database.run(lost, saga_id)
    if as_json:
        print_json(columns_of(run) | {"history": list(map(columns_of, steps)), "lost": list(map(columns_of, gone))})
        return
    for name, value in columns_of(run).items():
        if value is not None and name != "failure":
            print_line(name, text_of(value))
    for attempt in gone:
        print_line("worker lost", _told(attempt))
    if run.state in (RUNNING, COMPENSATING) and TASK + run.name not in found.database.run(known_tasks):
        print_line("waits for", f"a worker that knows the saga {run.name!r}: none that lives does")
    print_table(_COLUMNS, map(_cells, steps))


@group.command()
def history(
    saga_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Show what is recorded of a run: steps, undos, waits, timers."""
    print_items(_loaded(app, data).sagas.get(saga_id).history(), _COLUMNS, _cells, as_json=as_json)


@group.command()
def start(
    name: Annotated[str, typer.Argument(help="The saga's name.")],
    *,
    args: Annotated[str, typer.Option("--args", metavar="JSON", help="Arguments, a list.")] = "[]",
    saga_id: Annotated[str | None, typer.Option("--id", help="Id of the run: twice the same is one run.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result; exit code 1 unless COMPLETED.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Start a run."""
    sagas = _loaded(app, data).sagas
    definition = sagas.definitions.get(name)
    if definition is None:
        fail(f"the app has no saga {name!r}; there are {', '.join(sorted(sagas.definitions)) or 'none'}")
    try:
        handle = definition.start(*parsed("--args", args, list), id=saga_id)
    except (TypeError, ValueError) as error:
        fail(error)
    if wait:
        try:
            handle.get(timeout)
        except SagaFailed as error:
            fail(error)
    _report(handle.run(), as_json)


@group.command()
def cancel(
    saga_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Undo a run; once this returns, it cannot complete any more."""
    _report(_loaded(app, data).sagas.get(saga_id).cancel(), as_json)


@group.command()
def retry(
    saga_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Let a STUCK run go on: what gave up gets a fresh budget of attempts."""
    _report(_loaded(app, data).sagas.get(saga_id).retry(), as_json)


@group.command()
def skip(
    saga_id: IdArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="Its number, as `history` shows it: 2, 2:undo, …")],
    *,
    result: Annotated[str, typer.Option("--result", metavar="JSON", help="What the step returned.")] = "null",
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Settle a step, wait or undo by hand: it counts as done."""
    handle = _loaded(app, data).sagas.get(saga_id)
    try:
        run = handle.skip(step, parsed("--result", result))
    except (TypeError, ValueError) as error:
        fail(error)
    _report(run, as_json)


@group.command()
def signal(
    saga_id: IdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What `wait_signal` waits for.")],
    content: Annotated[str, typer.Argument(metavar="[JSON]", help="The signal's data.")] = "null",
    *,
    message_id: Annotated[str | None, typer.Option("--message-id", help="Twice the same is one signal.")] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Send a signal to a run."""
    handle = _loaded(app, data).sagas.get(saga_id)
    try:
        handle.signal(name, parsed("the data", content), message_id=message_id)
    except (TypeError, ValueError) as error:
        fail(error)
    _report(handle.run(), as_json)


_COLUMNS = ("number", "kind", "name", "state", "attempt", "started", "ended", "job", "result or error")


def _cells(step: SagaStep) -> tuple[Any, ...]:
    told = step.error if step.error is not None else json.dumps(step.result, default=str, ensure_ascii=False)
    told = " ".join(told.split())[:200]
    ended = None if step.ended_at is None else f"{step.ended_at:%H:%M:%S.%f}"
    begun = f"{step.started_at:%H:%M:%S.%f}"
    job = step.job_id or step.child_id
    return (step.number, step.kind, step.name, step.state, step.attempt, begun, ended, job, told)


def _told(attempt: LostAttempt) -> str:
    what = "a stretch of the run" if attempt.step is None else f"step {attempt.step}"
    why = (attempt.error or "").removeprefix("worker lost: ")
    on = f" on {attempt.worker}" if attempt.worker else ""
    return f"{text_of(attempt.finished_at)}{on}, in attempt {attempt.attempt} of {what} (job {attempt.job_id}): {why}"


def _loaded(app: str | None, data: Any) -> Trilho:
    found = load_app(app, data)
    found.finalize(auto=True)
    found.loader.import_default_modules()
    return found


def _report(run: SagaRun, as_json: bool) -> None:
    if as_json:
        print_json(columns_of(run))
    else:
        to_come = ", and will be undone: its cancel was asked for" if _waits_for_its_undoing(run) else ""
        typer.echo(f"{run.id} is {run.state}{to_come}{f': {_why(run)}' if _why(run) else ''}")


def _waits_for_its_undoing(run: SagaRun) -> bool:
    return run.cancel_requested_at is not None and run.verdict is None


def _why(run: SagaRun) -> str:
    return " ".join((run.stuck or run.error or "").split())
