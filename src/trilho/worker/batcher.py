"""The batcher: turns requests into slices for the pool, and what comes back into events and settlements.

A slice holds one job. The claim is made by the pool process with a token that the parent has chosen, so that the parent
can settle what a dead process leaves behind.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import TaskRevokedError
from celery.worker import state

from trilho.db.pool import LOST, Connection
from trilho.errors import ClaimLost
from trilho.jobs import aftermath, store
from trilho.jobs.aftermath import Verdict
from trilho.jobs.job import REVOKED, Claimed
from trilho.jobs.outcome import Death, Outcome
from trilho.jobs.runner import Ran, SliceOrder, SliceReport
from trilho.log import get_logger
from trilho.processes.shared import BODY, IDLE
from trilho.processes.store import Pulse
from trilho.worker.request import FENCED
from trilho.worker.slice import CANCELLED, LEASE, SHUTDOWN, TIME_LIMIT, Slice

if TYPE_CHECKING:
    from trilho.worker.consumer import JobConsumer

log = get_logger("trilho.worker")

SHORT = 0.05
"""Seconds: while slices take less on average, messages are acknowledged early so that the next ones come in time."""


SOON = 1.0
"""Seconds: slices that take less on average will be free in a moment."""

AHEAD = 4
"""Wake-ups held for each process while jobs are short."""


@dataclass
class Batcher:
    """Keeps the pool busy, and never holds more than it can begin soon."""

    consumer: "JobConsumer"
    waiting: deque[Any] = field(default_factory=deque)
    slices: dict[UUID, Slice] = field(default_factory=dict)
    pulse: Pulse = field(default_factory=Pulse)
    received: dict[tuple[str, int], float] = field(default_factory=dict)
    unsettled: set[UUID] = field(default_factory=set)
    closed: bool = False
    _free_slots: list[int] = field(default_factory=list)
    _scheduled: bool = False
    _average: float = 1.0

    def __post_init__(self) -> None:
        self._free_slots = list(range(self.consumer.app.shared.slots))

    # ---- taking requests

    def add(self, request: Any) -> None:
        """Take a request of Celery's strategy; what the dispatcher hands over goes first."""
        (self.waiting.appendleft if request.direct else self.waiting.append)(request)
        self.schedule()

    def schedule(self) -> None:
        """Fill the pool soon."""
        if not self._scheduled:
            self._scheduled = True
            self.consumer.call_soon(self._fill)

    def room(self) -> int:
        """How many jobs the dispatcher may hand over now: free processes, those that will be free in a moment, and
        always one, which takes the next process however full the broker keeps the pool.
        """
        now = time.monotonic()
        soon = sum(1 for s in self.slices.values() if now - s.begun < SOON and self._average < SOON)
        free = self._processes() - len(self.slices) + soon
        return max(1, free) - sum(1 for request in self.waiting if request.direct)

    def knows(self, job_id: str) -> bool:
        """Whether this worker has the job at hand already."""
        return job_id in state.requests

    def runs(self, job_id: str) -> bool:
        """Whether a slice with this job is under way."""
        return any(job_id in under_way.requests for under_way in list(self.slices.values()))

    # ---- slices

    def _processes(self) -> int:
        return int(self.consumer.pool.num_processes)

    def _fill(self) -> None:
        self._scheduled = False
        while self.waiting and len(self.slices) < self._processes() and self._may_start():
            self._start(self.waiting.popleft())
            if self.consumer.bodies.one_by_one:
                return  # the event loop has waited for long enough; the end of the slice has asked for more

    def _may_start(self) -> bool:
        if self.closed:
            return False
        if not self.consumer.app.shared.may_run():
            self.consumer.later(0.1, self.schedule)
            return False
        return True

    def _start(self, request: Any) -> None:
        lease = self.consumer.lease
        order = SliceOrder(
            (request.id,),
            uuid4(),
            lease.incarnation,
            self.consumer.hostname,
            self._free_slots.pop(),
            self.consumer.app.shared.epoch,
        )
        self.consumer.app.shared.mark(order.slot, IDLE)
        hard, soft = request.time_limits or (None, None)
        task = request.task
        under_way = Slice(
            order,
            {request.id: request},
            time.monotonic(),
            soft=soft or task.soft_time_limit,
            hard=hard or task.time_limit,
        )
        self.slices[order.token] = under_way
        self.pulse.running = len(self.slices)
        request._apply_result = None
        self.consumer.bodies.run(under_way)

    def accepted(self, under_way: Slice, pid: int, when: float) -> None:
        """The pool has taken a slice."""
        under_way.pid = pid
        self.pulse.last_progress = time.time()
        for request in under_way.requests.values():
            request.on_accepted(pid, when)
            if self._average < SHORT:
                request.acknowledge()

    def _close(self, under_way: Slice) -> bool:
        """Take a slice off the books, once."""
        if self.slices.pop(under_way.order.token, None) is None:
            return False
        self._free_slots.append(under_way.order.slot)
        self._average = 0.8 * self._average + 0.2 * (time.monotonic() - under_way.begun)
        self._adapt_prefetch()
        self.pulse.running = len(self.slices)
        self.pulse.last_progress = time.time()
        for request in under_way.requests.values():
            request.acknowledge()
        self.schedule()
        return True

    def _adapt_prefetch(self) -> None:
        """Fetch ahead while jobs are seen to be short; otherwise hold no more than the processes can begin."""
        # Under --autoscale Celery grows the pool by what has been fetched.
        processes = max(self._processes(), getattr(self.consumer.controller, "max_concurrency", None) or 0)
        qos, ahead = self.consumer.qos, processes * (AHEAD if self._average < SHORT else 1)
        if qos is not None and qos.value != ahead:
            qos.value = ahead  # the consumer's loop tells the broker

    def done(self, under_way: Slice, report: SliceReport) -> None:
        """The slice came to its end, and what became of its jobs is written."""
        if not self._close(under_way):
            return
        for job_id, request in under_way.requests.items():
            ran = report.get(job_id)
            if ran is None:
                self.pulse.dropped += 1
                state.task_ready(request)
            else:
                self._report(request, ran)
            if ran is None or ran.state == FENCED:
                self.consumer.clerk.submit(self.tell_if_revoked, request)
        self.consumer.on_room()

    def _report(self, request: Any, ran: Ran) -> None:
        self.pulse.processed += 1
        self.pulse.finished[ran.queue] = self.pulse.finished.get(ran.queue, 0) + 1
        if ran.first_sent_at is not None and not request.direct:
            key = (ran.queue, ran.priority)
            self.received[key] = max(self.received.get(key, 0.0), ran.first_sent_at)
        request.on_ran(ran)

    # ---- slices that go wrong

    def timed_out(self, under_way: Slice, soft: bool, limit: float) -> None:
        """The pool has given the sign for a time limit."""
        ids = ", ".join(under_way.requests)
        log.warning("time_limit.soft" if soft else "time_limit.hard", jobs=ids, limit=limit)

    def broken(self, under_way: Slice, error: BaseException) -> None:
        """The pool process died, or the slice raised: settle what its claim holds."""
        if not self._close(under_way):
            return
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, (WorkerLostError, Terminated, TimeLimitExceeded, SystemExit)):
            self.consumer.bodies.bury(under_way)
        order = under_way.order
        verdict = self._verdict(under_way, error)
        tell = log.warning if under_way.ending is None else log.info
        tell("slice.ended", jobs=list(order.ids), because=under_way.ending or repr(error))
        for request in under_way.requests.values():
            state.task_ready(request)
        self.unsettled.add(order.token)
        self.consumer.clerk.submit(self._settle_and_tell, under_way, verdict)

    def _settle_and_tell(self, connection: Connection, under_way: Slice, verdict: Verdict) -> None:
        decided: dict[str, tuple[Claimed, Outcome]] = {}

        def decide(job: Claimed) -> Outcome:
            decided[job.id] = (job, aftermath.decided(job, verdict))
            return decided[job.id][1]

        self.settle(connection, under_way.order.ids, under_way.order.token, decide)
        for job_id, request in under_way.requests.items():
            if job_id in decided:
                self.consumer.call_soon(request.on_settled, *decided[job_id])
            else:  # what its row said counted more than the verdict
                self.tell_if_revoked(connection, request, terminated=True)

    def tell_if_revoked(self, connection: Connection, request: Any, terminated: bool = False) -> None:
        """A wake-up led to no attempt that counts; that a job was revoked meanwhile, the world is still to be told."""
        job = store.view(connection, request.id)
        if job is not None and job.state == REVOKED:
            self.consumer.call_soon(request.announce_revoked, terminated)

    def settle(self, connection: Connection, ids: tuple[str, ...], token: UUID, verdict: Verdict) -> None:
        """Write what becomes of what a claim still holds; an errand of the clerk."""
        try:
            aftermath.settle_claim(self.consumer.app, connection, ids, token, verdict)
        except LOST:
            raise  # the clerk tries again
        except Exception:
            self.unsettled.discard(token)  # the dispatcher finds the claim among the strays
            raise
        self.unsettled.discard(token)
        self.consumer.poke()

    def _verdict(self, under_way: Slice, error: BaseException) -> Verdict:
        ending = self._ending(under_way, error)
        if ending is not None:
            return verdict_on(under_way, ending)
        if isinstance(error, TimeLimitExceeded):
            return self._verdict_on_time_out(under_way.order, error)
        if isinstance(error, (ClaimLost, *LOST)):
            return aftermath.release(f"the slice failed: {error!r}", delay=1.0)
        return self._verdict_on_crash(under_way.order, error)

    def _ending(self, under_way: Slice, error: BaseException) -> str | None:
        """Why this worker itself ended the process; None if it did not."""
        if under_way.ending is not None:
            return under_way.ending
        if self.closed:
            return SHUTDOWN
        if isinstance(error, (Terminated, TaskRevokedError)):
            return CANCELLED
        lost = under_way.order.worker != self.consumer.lease.incarnation or not self.consumer.app.shared.may_run()
        return LEASE if lost else None  # the pool process may look at the deadline before we do

    def _verdict_on_time_out(self, order: SliceOrder, error: TimeLimitExceeded) -> Verdict:
        if self.consumer.app.shared.read(order.slot) < BODY:
            return aftermath.release("the time limit passed while its end was being written", delay=1.0)
        return aftermath.time_out(error.args[0] if error.args else None)

    def _verdict_on_crash(self, order: SliceOrder, error: BaseException) -> Verdict:
        limit = self.consumer.app.settings.max_crashes
        if not isinstance(error, (WorkerLostError, SystemExit)):
            # The process lives, the slice does not: counted, so that what can never be written comes to an end.
            return aftermath.crash(Death(f"the slice failed: {error!r}"), limit, lambda job: True)
        running = self.consumer.app.shared.read(order.slot) - BODY
        return aftermath.crash(Death(f"{error}"), limit, lambda job: running >= 0 and order.ids[running] == job.id)

    # ---- ending bodies

    def cancel(self, job_ids: Iterable[str]) -> None:
        """End the bodies of these jobs."""
        wanted = set(job_ids)
        for under_way in list(self.slices.values()):
            if wanted & under_way.requests.keys():
                self._end(under_way, CANCELLED)

    def end_all(self, because: str) -> None:
        """End every body; safe to call from any thread."""
        for under_way in list(self.slices.values()):
            self._end(under_way, because)

    def _end(self, under_way: Slice, because: str) -> None:
        under_way.ending = under_way.ending or because
        self.consumer.bodies.end(under_way)


def verdict_on(under_way: Slice, ending: str, delay: float = 0.0) -> Verdict:
    """What becomes of the jobs of a slice that this worker itself has ended."""
    if ending == CANCELLED:
        return aftermath.revoke(aftermath.CANCELLED)
    if ending == TIME_LIMIT:
        return aftermath.time_out(under_way.hard)
    return aftermath.release(f"its worker ended it: {ending}", delay)
