"""The batcher: turns requests into slices for the pool, and what comes back into events and settlements.

The claim is made by the pool process with a token that the parent has chosen, so that the parent can settle what a dead
process leaves behind. While a long body runs, the parent closes its slice: what has not begun goes to other processes.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import TaskRevokedError
from celery.worker import state

from trilho.db.pool import LOST, Connection
from trilho.jobs import aftermath, store
from trilho.jobs.aftermath import Verdict
from trilho.jobs.job import REVOKED, Claimed
from trilho.jobs.outcome import Outcome
from trilho.jobs.runner import ABSENT, UNSTARTED, Ran, SliceOrder
from trilho.jobs.tally import SLICE, SliceReport
from trilho.jobs.writer import FENCED
from trilho.log import get_logger
from trilho.processes.store import Pulse
from trilho.worker.pace import Pace
from trilho.worker.slice import CANCELLED, LEASE, SHUTDOWN, Slice
from trilho.worker.verdict import Witness

if TYPE_CHECKING:
    from trilho.worker.consumer import JobConsumer

log = get_logger("trilho.worker")

SOON = 1.0
"""Seconds: slices that take less on average will be free in a moment."""

LONG = 0.1
"""Seconds: when every process is busy for longer than this, what waits here goes to whoever has room."""

FIRST_SHOT = 0.02
"""Seconds for which a free process is kept for what the dispatcher has, if that was turned away before."""


@dataclass
class Batcher:
    """Keeps the pool busy, and never holds more than it can begin soon."""

    consumer: "JobConsumer"
    waiting: deque[Any] = field(default_factory=deque)
    slices: dict[UUID, Slice] = field(default_factory=dict)
    pulse: Pulse = field(default_factory=Pulse)
    pace: Pace = field(default_factory=Pace)
    received: dict[tuple[str, int], float] = field(default_factory=dict)
    unsettled: set[UUID] = field(default_factory=set)
    closed: bool = False
    _free_slots: list[int] = field(default_factory=list)
    _scheduled: bool = False
    _looking: bool = False
    _turned_away: bool = False  # the dispatcher has asked for room since a process came free, and there was none
    _kept_until: float = 0.0
    _passed_on: list[Any] = field(default_factory=list)  # requests whose messages keep more from coming

    def __post_init__(self) -> None:
        self._free_slots = list(range(self.consumer.app.shared.slots))

    # ---- taking requests

    def add(self, request: Any) -> None:
        """Take a request of Celery's strategy; what the dispatcher hands over goes first."""
        (self.waiting.appendleft if request.direct else self.waiting.append)(request)
        if self.consumer.bodies.shares and not self.slices and len(self.waiting) == 1:
            self._fill()  # an idle worker begins at once; what comes behind it finds other processes, or shares a slice
        else:
            self.schedule()

    def schedule(self) -> None:
        """Fill the pool soon."""
        if not self._scheduled:
            self._scheduled = True
            self.consumer.call_soon(self._fill)

    def room(self) -> int:
        """How many jobs the dispatcher may hand over now: for free processes and those that will be free in a moment,
        and always one, which takes the next process however full the broker keeps the pool; but none while long bodies
        run everywhere.
        """
        now = time.monotonic()
        under_way = list(self.slices.values())
        if self._is_stuck(under_way, now):
            self._turned_away = True
            return 0
        soon = sum(1 for each in under_way if now - each.begun < SOON and self.pace.average < SOON)
        free = (self._processes() - len(under_way) + soon) * self._share()
        return max(1, free) - sum(1 for request in list(self.waiting) if request.direct)

    def knows(self, job_id: str) -> bool:
        """Whether this worker has the job at hand already."""
        return job_id in state.requests

    def came_again(self, job_id: str) -> bool:
        """Another wake-up has come for a job that is at hand; whether a slice with it is under way."""
        for under_way in list(self.slices.values()):
            if (request := under_way.requests.get(job_id)) is not None:
                request.came_again = True
                return True
        return False

    # ---- slices

    def _processes(self) -> int:
        return int(self.consumer.pool.num_processes)

    def _capacity(self) -> int:
        """Processes as they are, or as Celery may make them: under --autoscale the pool grows by what is waiting."""
        return max(self._processes(), getattr(self.consumer.controller, "max_concurrency", None) or 0)

    def _share(self) -> int:
        return self.pace.share() if self.consumer.bodies.shares else 1

    def _fill(self) -> None:
        self._scheduled = False
        if self.closed:
            return  # the pool may be gone
        if self._turned_away and len(self.slices) < self._processes():
            self._turned_away = False
            self._kept_until = time.monotonic() + FIRST_SHOT
            self.consumer.poke()
        while self.waiting and len(self.slices) < self._processes() and self._may_start():
            self._start(self._next())
            if self.consumer.bodies.one_by_one:
                return  # the event loop has waited for long enough; the end of the slice has asked for more
        self._keep_looking()

    def _may_start(self) -> bool:
        if not self.consumer.app.shared.may_run():
            self.consumer.later(0.1, self.schedule)
            return False
        kept = self._kept_until - time.monotonic()
        if kept > 0 and not self.waiting[0].direct:
            self.consumer.later(kept, self.schedule)
            return False
        return True

    def _next(self) -> list[Any]:
        """The next request, and those behind it that share a slice with it; other processes get their part, too."""
        first = self.waiting.popleft()
        free = self._processes() - len(self.slices)
        most = min(self._share(), -(-(len(self.waiting) + 1) // free)) if first.sociable else 1
        together = [first]
        while len(together) < most and self.waiting and _fit(first, self.waiting[0]):
            together.append(self.waiting.popleft())
        return together

    def _start(self, requests: Sequence[Any]) -> None:
        shared, slot = self.consumer.app.shared, self._free_slots.pop()
        order = SliceOrder(
            tuple(request.id for request in requests),
            uuid4(),
            self.consumer.lease.incarnation,
            self.consumer.hostname,
            slot,
            shared.epoch,
        )
        shared.open(slot)
        soft, hard = requests[0].limits
        under_way = Slice(order, {request.id: request for request in requests}, time.monotonic(), soft=soft, hard=hard)
        self.slices[order.token] = under_way
        self.pulse.running = len(self.slices)
        for request in requests:
            request._apply_result = None
        self.consumer.bodies.run(under_way)

    def accepted(self, under_way: Slice, pid: int, when: float) -> None:
        """The pool has taken a slice, and begins with its first job."""
        under_way.pid, under_way.accepted_at = pid, when
        self.pulse.last_progress = time.time()
        for index, request in enumerate(under_way.requests.values()):
            if index == 0:
                request.on_accepted(pid, when)
            if self.pace.is_short():
                request.acknowledge()

    def _close(self, under_way: Slice) -> bool:
        """Take a slice off the books, once."""
        if self.slices.pop(under_way.order.token, None) is None:
            return False
        self._free_slots.append(under_way.order.slot)
        self._adapt_prefetch()
        self.pulse.running = len(self.slices)
        self.pulse.last_progress = time.time()
        for request in (*under_way.requests.values(), *self._passed_on):
            request.acknowledge()
        self._passed_on.clear()
        self.schedule()
        return True

    def _adapt_prefetch(self) -> None:
        """Fetch ahead while jobs are seen to be short; otherwise hold no more than the processes can begin."""
        qos, ahead = self.consumer.qos, self._capacity() * self.pace.ahead()
        if qos is not None and qos.value != ahead:
            qos.value = ahead  # the consumer's loop tells the broker

    def partly_done(self, token: UUID, report: SliceReport) -> None:
        """Some jobs of a slice have ended, and that is written, while a long body runs."""
        under_way = self.slices.get(token)
        if under_way is not None:
            self._tell(under_way, report)

    def done(self, under_way: Slice, report: SliceReport) -> None:
        """The slice came to its end, and what became of its jobs is written."""
        if not self._close(under_way):
            return
        self._tell(under_way, report)
        for request in under_way.requests.values():  # they were not waiting
            self._drop(request)
        self.consumer.on_room()

    def _tell(self, under_way: Slice, report: SliceReport) -> None:
        self.pace.measured([ran.took for ran in report.values() if ran.state not in {UNSTARTED, ABSENT}])
        again = []
        for job_id, ran in report.items():
            request = under_way.requests.pop(job_id, None)
            if request is None:
                continue
            if ran.state == UNSTARTED:
                again.append(request)
            elif ran.state == ABSENT:
                self._drop(request)
            else:
                self._report(under_way, request, ran)
        self._wait_again(again)

    def _report(self, under_way: Slice, request: Any, ran: Ran) -> None:
        if request.time_start is None:
            request.on_accepted(under_way.pid, under_way.accepted_at)
        self.pulse.processed += 1
        self.pulse.finished[ran.queue] = self.pulse.finished.get(ran.queue, 0) + 1
        if ran.first_sent_at is not None and not request.direct:
            key = (ran.queue, ran.priority)
            self.received[key] = max(self.received.get(key, 0.0), ran.first_sent_at)
        request.acknowledge()
        request.on_ran(ran)
        if ran.state == FENCED:
            self.consumer.clerk.submit(self.tell_if_revoked, request)

    def _drop(self, request: Any) -> None:
        """The wake-up led to nothing; if another one has come since, that one is next."""
        if request.came_again:
            request.came_again = False
            self._wait_again([request])
            return
        self.pulse.dropped += 1
        state.task_ready(request)
        self.consumer.clerk.submit(self.tell_if_revoked, request)

    def _wait_again(self, requests: Sequence[Any]) -> None:
        """These have not begun: they are next."""
        for request in reversed(requests):
            state.active_requests.discard(request)
            request.time_start = None
            self.waiting.appendleft(request)
        self.schedule()

    # ---- looking after slices

    def _keep_looking(self) -> None:
        if self._looking or self.closed or self.consumer.bodies.one_by_one:
            return
        open_ones = any(each.shared and not each.closed for each in self.slices.values())
        if open_ones or (self.slices and self.waiting):
            self._looking = True
            self.consumer.later(SLICE if open_ones else LONG, self._look)

    def _look(self) -> None:
        """Close slices in which one body runs for long, and keep nothing that cannot begin here."""
        self._looking = False
        now = time.monotonic()
        for under_way in list(self.slices.values()):
            if under_way.look(self.consumer.app.shared.running(under_way.order.slot), now) >= SLICE:
                self.withdraw(under_way)
        if self.waiting and self._is_stuck(list(self.slices.values()), now):
            self._pass_on()
        self._keep_looking()

    def _is_stuck(self, under_way: Sequence[Slice], now: float) -> bool:
        """Whether long bodies run in every process."""
        return len(under_way) >= self._capacity() and all(each.is_long(now, LONG) for each in under_way)

    def _pass_on(self) -> None:
        """Leave what waits to whoever has room. Its messages are not acknowledged until there is some here."""
        requests = list(self.waiting)
        self.waiting.clear()
        self._passed_on += requests
        for request in requests:
            state.task_ready(request)
        self.consumer.clerk.submit(store.changed, "pass_on", ids=[request.id for request in requests])

    def withdraw(self, under_way: Slice) -> None:
        """Let no further job of this slice begin, and take back those that have not."""
        shared, order = self.consumer.app.shared, under_way.order
        if under_way.closed or not under_way.shared:
            return
        try:
            taken = shared.close(order.slot)
        except BlockingIOError:
            return  # the next look is not far
        under_way.closed = True
        running = under_way.requests.get(order.ids[shared.running(order.slot) or 0])
        if running is not None and running.time_start is None:
            running.on_accepted(under_way.pid, time.monotonic())
        if not taken:
            return  # its process gives back what it closes itself, and what it has not begun at all
        requests = {
            job_id: under_way.requests.pop(job_id) for job_id in order.ids[taken:] if job_id in under_way.requests
        }
        if requests:
            self.consumer.clerk.submit(self._take_back, order.token, requests)

    def _take_back(self, connection: Connection, token: UUID, requests: dict[str, Any]) -> None:
        self.consumer.app.database.faults.hit("take_back.before")
        waiting = aftermath.give_back(self.consumer.app, connection, list(requests), token)
        if self.closed:  # the event loop may have ended, and nothing begins here any more
            store.changed(connection, "resend", ids=list(waiting))
        self.consumer.app.database.faults.hit("take_back.after")
        self.consumer.call_soon(self._taken_back, requests, waiting)

    def _taken_back(self, requests: dict[str, Any], waiting: set[str]) -> None:
        for job_id, request in requests.items():
            if job_id not in waiting:
                self._drop(request)
        self._wait_again([request for job_id, request in requests.items() if job_id in waiting])
        self._keep_looking()

    # ---- slices that go wrong

    def timed_out(self, under_way: Slice, soft: bool, limit: float) -> None:
        """The pool has given the sign for a time limit."""
        ids = ", ".join(under_way.requests)
        log.warning("time_limit.soft" if soft else "time_limit.hard", jobs=ids, limit=limit)

    def broken(self, under_way: Slice, error: BaseException) -> None:
        """The pool process died, or the slice raised: settle what its claim holds."""
        if not self._close(under_way):
            return
        self.pace.measured([time.monotonic() - under_way.begun])
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, (WorkerLostError, Terminated, TimeLimitExceeded, SystemExit)):
            self.consumer.bodies.bury(under_way)
        verdict = self._verdict(under_way, error)
        tell = log.warning if under_way.ending is None else log.info
        tell("slice.ended", jobs=list(under_way.requests), because=under_way.ending or repr(error))
        for request in under_way.requests.values():
            state.task_ready(request)
        self.unsettled.add(under_way.order.token)
        self.consumer.clerk.submit(self._settle_and_tell, under_way, verdict)

    def _settle_and_tell(self, connection: Connection, under_way: Slice, verdict: Verdict) -> None:
        decided: dict[str, tuple[Claimed, Outcome]] = {}

        def decide(job: Claimed) -> Outcome:
            decided[job.id] = (job, aftermath.decided(job, verdict))
            return decided[job.id][1]

        self.settle(connection, tuple(under_way.requests), under_way.order.token, decide)
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

    def witness(self, under_way: Slice) -> Witness:
        """What can be seen of a slice that came to no good end; the slot may belong to another one afterwards."""
        shared, order = self.consumer.app.shared, under_way.order
        limit = self.consumer.app.settings.max_crashes
        return Witness(order.ids, shared.running(order.slot), shared.taken(order.slot), limit, under_way.hard)

    def _verdict(self, under_way: Slice, error: BaseException) -> Verdict:
        ending, witness = self._ending(under_way, error), self.witness(under_way)
        return witness.on_error(error) if ending is None else witness.on_ending(ending)

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

    # ---- ending bodies

    def cancel(self, job_ids: Iterable[str]) -> None:
        """End the bodies of these jobs; who asks, asks again."""
        wanted = set(job_ids)
        for under_way in list(self.slices.values()):
            if wanted & under_way.requests.keys() and self._is_body_of(under_way, wanted):
                self._end(under_way, CANCELLED)

    def _is_body_of(self, under_way: Slice, wanted: set[str]) -> bool:
        """Whether the process may be ended for these jobs: not under the body of another one, and not before those that
        ended earlier are written, unless that takes too long.
        """
        if not under_way.shared:
            return True
        self.withdraw(under_way)
        running = self.consumer.app.shared.running(under_way.order.slot)
        if not under_way.closed or running is None or under_way.order.ids[running] not in wanted:
            return False
        return len(under_way.requests) == 1 or time.monotonic() - under_way.begun > SOON

    def end_all(self, because: str) -> None:
        """End every body; safe to call from any thread."""
        for under_way in list(self.slices.values()):
            self._end(under_way, because)

    def _end(self, under_way: Slice, because: str) -> None:
        under_way.ending = under_way.ending or because
        self.consumer.bodies.end(under_way)


def _fit(first: Any, other: Any) -> bool:
    """Whether two requests may share a slice: one clock measures their time limits."""
    return bool(other.sociable and other.limits == first.limits)
