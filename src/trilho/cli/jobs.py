"""`trilho call` and `trilho jobs …`: enqueue jobs, look at them, act on them."""

from typing import Annotated, Any

import typer

from trilho.cli.finder import load_app
from trilho.cli.options import DEFAULT_DATA, AppOption, DataOption, JsonOption, one_of
from trilho.cli.output import columns_of, fail, print_json, print_line, print_table
from trilho.cli.values import parsed, text_of
from trilho.jobs.job import FAILURE, STATES, SUCCESS, Attempt, Job, JobFilter

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a job.")]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")]

group = typer.Typer(no_args_is_help=True, help="Look at jobs, run them again, wait for them, cancel them.")


def call(
    task: Annotated[str, typer.Argument(help="The task's name; no worker has to know it yet.")],
    *,
    args: Annotated[str, typer.Option("--args", metavar="JSON", help="Positional arguments, a list.")] = "[]",
    kwargs: Annotated[str, typer.Option("--kwargs", metavar="JSON", help="Keyword arguments, an object.")] = "{}",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result; exit code 1 unless SUCCESS.")] = False,
    timeout: TimeoutOption = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Enqueue a job."""
    found = load_app(app, data)
    given = {"args": parsed("--args", args, list), "kwargs": parsed("--kwargs", kwargs, dict)}
    try:
        sent = found.send_task(task, **given)
    except (TypeError, ValueError) as error:
        fail(error)
    if wait:
        _report(_wait(found.jobs, sent.id, timeout), as_json)
    elif as_json:
        print_json({"id": sent.id})
    else:
        typer.echo(sent.id)


@group.command("list")
def list_jobs(
    *,
    state: Annotated[
        str | None, typer.Option("--state", callback=one_of(STATES), help="PENDING, STARTED, RETRY, FAILURE, …")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue")] = None,
    task: Annotated[str | None, typer.Option("--task")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="`next_cursor` of the page before.")] = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    chosen = JobFilter(state, queue, task, limit, cursor)
    page = load_app(app, data).jobs.list(chosen)
    if as_json:
        print_json({"items": [columns_of(job) for job in page.items], "next_cursor": page.next_cursor})
        return
    rows = ((job.id, job.task, job.queue, job.state, job.attempt, job.created_at, job.error) for job in page.items)
    print_table(("id", "task", "queue", "state", "attempt", "created", "error"), map(_short, rows))
    if page.next_cursor:
        typer.echo(f"more with --cursor {page.next_cursor}")


@group.command()
def show(
    job_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Show one job with its attempts."""
    jobs = load_app(app, data).jobs
    job, attempts = jobs.get(job_id), jobs.attempts(job_id)
    if as_json:
        print_json(columns_of(job) | {"attempts": [columns_of(attempt) for attempt in attempts]})
        return
    for name, value in columns_of(job).items():
        if value is not None:
            print_line(name, text_of(value))
    for attempt in attempts:
        typer.echo(_attempt_line(attempt))


@group.command()
def retry(
    job_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Run a job that ended as FAILURE or REVOKED again, with a fresh retry budget."""
    _report_state(load_app(app, data).jobs.retry(job_id), as_json)


@group.command()
def cancel(
    job_id: IdArgument, app: AppOption = None, data: DataOption = DEFAULT_DATA, as_json: JsonOption = False
) -> None:
    """Cancel a job: one that waits at once, one that runs within seconds."""
    _report_state(load_app(app, data).jobs.cancel(job_id), as_json)


@group.command()
def wait(
    job_id: IdArgument,
    timeout: TimeoutOption = None,
    app: AppOption = None,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Wait until a job has ended and print its result; exit code 1 unless it is SUCCESS."""
    _report(_wait(load_app(app, data).jobs, job_id, timeout), as_json)


def _wait(jobs: Any, job_id: str, timeout: float | None) -> Job:
    try:
        job: Job = jobs.wait(job_id, timeout)
    except TimeoutError:
        fail(f"job {job_id} is {jobs.get(job_id).state} after {timeout:g} s")
    return job


def _report(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(columns_of(job))
    elif job.state == SUCCESS:
        typer.echo(text_of(job.result))
    if job.state != SUCCESS:
        fail(f"job {job.id} is {job.state}{f': {job.error}' if job.state == FAILURE else ''}")


def _report_state(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(columns_of(job))
    else:
        typer.echo(f"{job.id} is {job.state}")


def _attempt_line(attempt: Attempt) -> str:
    when = text_of(attempt.finished_at)
    return f"attempt {attempt.number}: {attempt.state} at {when} on {attempt.worker}: {attempt.error}"


def _short(row: tuple[Any, ...]) -> tuple[Any, ...]:
    *rest, created, error = row
    return (*rest, f"{created:%Y-%m-%d %H:%M:%S}", (error or "").split("\n")[0][:80])
