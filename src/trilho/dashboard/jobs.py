"""Jobs on the timeline: their attempts, and the waits between them. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from trilho.dashboard.entries import causes_of, entry_of, waiting
from trilho.dashboard.facts import Facts
from trilho.dashboard.masking import error_of, value_of
from trilho.dashboard.operation import Entry, Span, Tone
from trilho.dashboard.rows import AttemptRow, JobRow
from trilho.dashboard.tree import Key, Node

TONES: dict[str, Tone] = {
    "PENDING": "waiting", "RETRY": "waiting", "STARTED": "running", "PROCESSING": "running", "SUCCESS": "ok",
    "FAILURE": "failed", "REVOKED": "undone", "LOST": "failed", "RELEASED": "undone",
}  # fmt: skip


def jobs(facts: Facts) -> Iterator[Node[Entry]]:
    """The jobs of the operation, also those of which only a note is left."""
    attempts: dict[str, list[AttemptRow]] = defaultdict(list)
    for attempt in facts.attempts:
        attempts[attempt.job_id].append(attempt)
    notes = facts.first_notes("job")
    owners = {step.job_id: (("step", step.saga_id, step.path),) for step in facts.steps}
    rows = {job.id: job for job in facts.jobs}
    for job in rows.values():
        note = notes.get(job.id)
        causes = () if note is None else causes_of(note)
        parent: tuple[Key, ...] = () if job.parent_id is None else (("job", job.parent_id), ("saga", job.parent_id))
        yield Node(
            ("job", job.id),
            job.created_at,
            (*owners.get(job.id, ()), *parent, *causes),
            job_entry(job, attempts[job.id]),
        )
    for note in notes.values():
        if note.id not in rows:
            yield Node(("job", note.id), note.at, causes_of(note), entry_of(note, "job", "deleted", "plain", []))


def job_entry(job: JobRow, attempts: Sequence[AttemptRow]) -> Entry:
    """A job with its attempts, and the wait before the one that comes next."""
    counted = job.max_attempts and job.attempt <= job.max_attempts  # attempts that a crash cut short do not count
    limit = f" of {job.max_attempts}" if counted else ""
    facts = {"queue": job.queue, "attempt": f"{job.attempt}{limit}"}
    state = "held" if job.held else job.state
    data = job.result if job.state == "SUCCESS" else job.progress
    return Entry(
        id=job.id,
        kind="job",
        name=job.task,
        depth=0,
        state=state,
        tone=TONES[job.state],
        start=job.created_at,
        end=job.finished_at,
        spans=_spans(job, attempts),
        error=error_of(job.error),
        data=value_of(data),
        facts=facts | ({"worker": job.worker} if job.worker else {}),
    )


def _spans(job: JobRow, attempts: Sequence[AttemptRow]) -> list[Span]:
    spans = []
    free = job.created_at
    for attempt in attempts:
        begun = attempt.started_at or attempt.finished_at
        spans += waiting(free, begun)
        spans.append(_attempt(attempt, begun))
        free = attempt.finished_at
    if job.started_at is not None and job.attempt not in {attempt.number for attempt in attempts}:
        spans += waiting(free, job.started_at)
        tone = TONES[job.state]
        label = f"attempt {job.attempt}"
        spans.append(
            Span(label=label, state=job.state, tone=tone, start=job.started_at, end=job.finished_at, worker=job.worker)
        )
    elif job.finished_at is None:
        state = f"{'held' if job.held else job.state}{' until its time' if job.scheduled else ''}"
        spans += waiting(free, None, state)
    return spans


def _attempt(attempt: AttemptRow, begun: datetime) -> Span:
    tone: Tone = "failed" if attempt.outcome in {"FAILURE", "RETRY", "LOST"} else "undone"
    return Span(
        label=f"attempt {attempt.number}",
        state=attempt.outcome,
        tone=tone,
        start=begun,
        end=attempt.finished_at,
        error=error_of(attempt.error),
        worker=attempt.worker,
    )
