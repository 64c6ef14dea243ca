"""Runs of sagas on the timeline: their steps, waits and undos. Pure."""

from collections.abc import Iterator

from trilho.dashboard.entries import causes_of
from trilho.dashboard.facts import Facts
from trilho.dashboard.masking import error_of, value_of
from trilho.dashboard.operation import Entry, Span, Tone
from trilho.dashboard.rows import SagaRow, StepRow
from trilho.dashboard.tree import Key, Node

TONES: dict[str, Tone] = {
    "RUNNING": "running", "WAITING": "waiting", "COMPENSATING": "running", "STUCK": "failed", "COMPLETED": "ok",
    "COMPENSATED": "undone",
}  # fmt: skip
STEP_TONES: dict[str, Tone] = {
    "WAITING": "running", "RETRY": "waiting", "DONE": "ok", "FAILED": "failed", "SKIPPED": "plain",
    "CANCELLED": "undone",
}  # fmt: skip
WAITS = frozenset({"sleep", "event", "signal", "call"})


def sagas(facts: Facts) -> Iterator[Node[Entry]]:
    """The runs of the operation, and under each of them what it did."""
    notes = facts.first_notes("saga")
    for saga in facts.sagas:
        note = notes.get(saga.id)
        caller: tuple[Key, ...] = () if saga.parent_id is None else (("step", saga.parent_id, saga.parent_path or ""),)
        causes = (*caller, *(() if note is None else causes_of(note)))
        yield Node(("saga", saga.id), saga.created_at, causes, saga_entry(saga))
    for step in facts.steps:
        yield Node(("step", step.saga_id, step.path), step.started_at, (("saga", step.saga_id),), step_entry(step))


def saga_entry(saga: SagaRow) -> Entry:
    """One run."""
    tone = TONES.get(saga.state, "plain")
    span = Span(label="run", state=saga.state, tone=tone, start=saga.created_at, end=saga.finished_at)
    known = {"version": str(saga.version), "undone because it": saga.verdict}
    return Entry(
        id=saga.id,
        kind="saga",
        name=saga.name,
        depth=0,
        state=saga.state,
        tone=tone,
        start=saga.created_at,
        end=saga.finished_at,
        spans=[span],
        error=error_of(saga.stuck or saga.error),
        data=value_of(saga.result),
        facts={name: value for name, value in known.items() if value},
    )


def step_entry(step: StepRow) -> Entry:
    """One step, wait or undo."""
    tone = STEP_TONES.get(step.state, "plain")
    if step.kind in WAITS and step.state == "WAITING":
        tone = "waiting"
    if step.kind == "undo" and step.state == "DONE":
        tone = "undone"
    label = f"attempt {step.attempt}" if step.attempt else step.kind
    error = error_of(step.error)
    span = Span(label=label, state=step.state, tone=tone, start=step.started_at, end=step.ended_at, error=error)
    known = {"place": step.path, "attempt": str(step.attempt), "timed out": "yes" if step.timed_out else None}
    return Entry(
        id=step.saga_id,
        kind="undo" if step.kind == "undo" else "step",
        name=step.name if step.kind in {"step", "undo"} else f"{step.kind} {step.name}".strip(),
        depth=0,
        state=step.state,
        tone=tone,
        start=step.started_at,
        end=step.ended_at,
        spans=[span],
        error=error,
        data=value_of(step.result),
        facts={name: value for name, value in known.items() if value},
    )
