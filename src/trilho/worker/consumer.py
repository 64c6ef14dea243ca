"""The consumer of a Trilho worker: Celery's, with a batcher, a lease, a dispatcher, and no fear of a missing broker."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import signals
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu import Message as BrokerMessage
from kombu.transport import redis
from psycopg.errors import UndefinedTable

from trilho.db.pool import LOST, Connection
from trilho.dispatcher.loop import Dispatcher
from trilho.jobs import store
from trilho.jobs.aftermath import release
from trilho.jobs.enqueue import EMPTY_BODY, wakeup_headers
from trilho.jobs.job import DueJob, NewJob
from trilho.log import get_logger
from trilho.processes.lease import MARGIN, Lease
from trilho.processes.store import ProcessInfo, Pulse, leave
from trilho.worker import panel
from trilho.worker.adoption import adopted, is_wakeup
from trilho.worker.batcher import Batcher
from trilho.worker.channel import Transport
from trilho.worker.clerk import Clerk
from trilho.worker.pools import bodies_of
from trilho.worker.slice import LEASE, SHUTDOWN
from trilho.worker.threads import PATIENCE

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.worker")

BROKER_PAUSE = 0.5
NO_ARGUMENTS: tuple[Any, ...] = ((), {}, {})
AFTER_EXIT = 5.0
"""Seconds before others may begin what this process has given back with its last breath."""


class HandedOver(BrokerMessage):  # type: ignore[misc]
    """A wake-up that the dispatcher hands over itself: there is nothing to acknowledge."""

    def ack(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    ack_log_error = reject = reject_log_error = requeue = ack


class JobConsumer(Consumer):  # type: ignore[misc]
    """Runs in the worker's main process; Celery creates it before it starts the pool."""

    app: "Trilho"

    def __init__(self, on_task_request: Any, **options: Any) -> None:
        options["app"].settings.require_database()
        if not options["app"].conf.broker_url:
            options["app"].settings.require_broker()
        super().__init__(on_task_request, **options)
        self.bodies = bodies_of(self)
        self.batcher = Batcher(self)
        self.on_task_request = self.batcher.add
        panel.install(self)
        self.clerk = Clerk(self.app.database)
        self.lease = Lease(self.app.database, self._info(), self._pulse, self.app.shared, self._on_lease_lost)
        self.dispatcher = Dispatcher(self.app, self.lease, self) if self.app.settings.dispatcher else None
        self._handle: Any = None
        self._begun = False
        self._loop_thread = threading.get_ident()
        self._soon: list[Callable[[], object]] = []
        self._handed = self._taken = 0  # by the dispatcher's thread and by the event loop, each written there only
        signals.worker_shutting_down.connect(self._on_shutting_down)
        signals.worker_shutdown.connect(self._on_shutdown)

    # ---- life

    def start(self) -> None:
        """Begin the threads, after the pool has forked, then run Celery's loop."""
        if not self._begun:
            self._begun = True
            self.clerk.start()
            self.lease.start()
            if self.dispatcher is not None:
                self.dispatcher.start()
            self.bodies.begin()
        super().start()

    def _info(self) -> ProcessInfo:
        return ProcessInfo(
            kind="worker",
            name=self.hostname,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=version("trilho"),
            lease=self.app.settings.lease,
            pool=self.bodies.name,
            concurrency=self.pool.limit,
            queues=self.queues(),
            tasks=self.tasks(),
        )

    def _pulse(self) -> Pulse:
        pulse = self.batcher.pulse
        pulse.queues = self.queues()
        return pulse

    def _on_lease_lost(self) -> None:
        running = list(self.batcher.slices.values())
        self.batcher.end_all(LEASE)
        self.bodies.fence(running, self.app.settings.lease * MARGIN / 2)

    def _on_shutting_down(self, sig: Any = None, how: str = "", **_: Any) -> None:
        """SIGTERM: claim nothing more, wait a while, then end the bodies."""
        self.batcher.closed = True
        self.batcher.pulse.state = "stopping"
        for under_way in list(self.batcher.slices.values()):
            self.batcher.withdraw(under_way)
        grace = self.app.settings.shutdown_grace if how.lower() == "warm" else 0.0
        threading.Thread(target=self._end_bodies, args=(grace,), name="trilho-grace", daemon=True).start()

    def cancel_active_requests(self) -> None:
        """SIGQUIT: end the bodies at once; their jobs are given back, not revoked."""
        self.batcher.closed = True
        threading.Thread(target=self._end_bodies, args=(0.0,), name="trilho-grace", daemon=True).start()

    def _end_bodies(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        while self.bodies.is_busy() and time.monotonic() < deadline:
            time.sleep(0.05)
        while self.bodies.is_busy():
            self.batcher.end_all(SHUTDOWN)
            if time.monotonic() >= deadline + PATIENCE:
                self.bodies.abandon()
            time.sleep(0.2)

    def settle_abandoned(self) -> None:
        """Give back everything, a moment before this process ends itself under bodies that go on."""
        self.batcher.closed = True
        for under_way in list(self.batcher.slices.values()):
            verdict = self.batcher.witness(under_way).on_ending(under_way.ending or SHUTDOWN, AFTER_EXIT)
            self.clerk.submit(self.batcher.settle, under_way.order.ids, under_way.order.token, verdict)
        self._return_waiting()
        self.clerk.submit(leave, self.lease.incarnation)
        self.clerk.finish(timeout=3.0)

    def _return_waiting(self) -> None:
        waiting = [request.id for request in list(self.batcher.waiting)]
        if waiting:
            self.clerk.submit(store.changed, "resend", ids=waiting)

    def _on_shutdown(self, **_: Any) -> None:
        """The pool is gone: give back what its processes still held, then leave."""
        if self.dispatcher is not None:
            self.dispatcher.stop()
        for under_way in list(self.batcher.slices.values()):
            under_way.ending = under_way.ending or SHUTDOWN
            self.batcher.broken(under_way, SystemExit(0))
        self._return_waiting()
        self.clerk.finish(timeout=5.0)
        self.lease.stop()
        self.app.database.close()
        self.bodies.leave()

    # ---- what the batcher and the dispatcher ask for

    def queues(self) -> tuple[str, ...]:
        """The queues that this worker consumes."""
        return tuple(sorted(self.app.amqp.queues.consume_from))

    def tasks(self) -> tuple[str, ...]:
        """The tasks that this worker knows."""
        return tuple(sorted(self.app.tasks))

    def room(self) -> int:
        """How many jobs the dispatcher may hand over now."""
        return 0 if self._handle is None or self.batcher.closed else self.batcher.room() - (self._handed - self._taken)

    def hand_over(self, jobs: Sequence[DueJob]) -> None:
        """Take due jobs from the dispatcher's thread; they go before what the broker brings."""
        self._handed += len(jobs)
        self.call_soon(self._take_over, tuple(jobs))

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End these jobs if they run here; the event loop may have ended, or be kept from running by a body."""
        if self.batcher.closed or self.bodies.one_by_one:
            self.batcher.cancel(job_ids)
        elif job_ids:
            self.call_soon(self.batcher.cancel, tuple(job_ids))

    def tokens(self) -> list[UUID]:
        """The claims under way, and those being settled."""
        return [*list(self.batcher.slices), *list(self.batcher.unsettled)]

    def settle_strays(self, claims: Sequence[tuple[str, UUID]]) -> None:
        """Give back jobs whose settlement failed."""
        known = set(self.tokens())
        for job_id, token in claims:
            if token in known:
                continue
            log.warning("claim.stray", job=job_id)
            self.clerk.submit(self.batcher.settle, (job_id,), token, release("its worker lost sight of it"))

    def received(self) -> dict[tuple[str, int], float]:
        """Until when the wake-ups of each queue and priority have been received."""
        return dict(self.batcher.received)

    def poke(self) -> None:
        """Let the dispatcher look now."""
        if self.dispatcher is not None:
            self.dispatcher.poke()

    def on_room(self) -> None:
        """A pool process came free."""
        if self.dispatcher is not None:
            self.dispatcher.on_room()

    def call_soon(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """As Celery's, at once: the loop would sleep before it looks at what its own callbacks have asked for."""
        if not self.hub or self.batcher.closed or threading.get_ident() != self._loop_thread:
            return super().call_soon(p, *args, **kwargs)
        self._soon.append(partial(p, *args, **kwargs))
        if len(self._soon) == 1:
            self.timer.call_after(0.0, self._call_now)
        return p

    call_soon_ack = call_soon

    def _call_now(self) -> None:
        """One entry of the timer for all of them: the loop fires ten in a round."""
        soon, self._soon = self._soon, []
        for call in soon:
            try:
                call()
            except Exception:  # as in Celery's loop: one that fails must not stop the others
                log.exception("callback.failed")

    def later(self, seconds: float, callback: Any) -> None:
        """Call back from the event loop."""
        self.timer.call_after(seconds, callback)

    def _take_over(self, jobs: Sequence[DueJob]) -> None:
        self._taken += len(jobs)
        for job in jobs:
            if self.batcher.knows(job.id):
                self._hand_out_later(job.id)
            else:
                self._handle(_message_of(job))

    def _hand_out_later(self, job_id: str) -> None:
        """The wake-up came before this worker had closed the last attempt: it must not be lost with that. Of a job that
        waits here, it says that nobody else has begun it."""
        if self.batcher.came_again(job_id):
            self.later(0.2, lambda: self.clerk.submit(store.changed, "resend", ids=[job_id]))
        else:
            self.batcher.schedule()

    # ---- messages

    def create_task_handler(self, **options: Any) -> Any:
        """Celery's handler; also what the dispatcher's jobs go through."""
        handler = super().create_task_handler(**options)

        def handle(message: Any) -> None:
            if not is_wakeup(message):
                self.clerk.submit(self._adopt, message)
            elif self.batcher.knows(message.headers["id"]):
                self.batcher.pulse.dropped += 1
                message.ack_log_error(log, self.connection_errors)
                self._hand_out_later(message.headers["id"])
            else:
                _spare(message)
                handler(message)

        self._handle = handle
        return handle

    def _adopt(self, connection: Connection, message: Any) -> None:
        """Make the row of a plain Celery message; only then is the message acknowledged."""
        try:
            job = adopted(message, self.app.tasks, self.app.conf.task_default_queue)
            store.changed(connection, "adopt", rows=store.rows_json([job]))
        except (*LOST, UndefinedTable):
            raise
        except Exception as error:  # no row can be made of it; unacknowledged, it would hold a place for ever
            self.call_soon(self.on_invalid_task, None, message, error)
            return
        self.app.database.faults.hit("adopt.after")
        self.call_soon(self._adopted, message, job)

    def _adopted(self, message: Any, job: NewJob) -> None:
        log.info("message.adopted", job=job.id, task=job.task)
        message.ack_log_error(log, self.connection_errors)
        if job.run_at is None and not self.batcher.knows(job.id):
            self._handle(_message_of(job))

    def _limit_task(self, request: Any, bucket: Any, tokens: int) -> Any:
        """A job that waits for its rate limit is at hand: repeated wake-ups must not queue up behind it."""
        state.requests[request.id] = request
        return super()._limit_task(request, bucket, tokens)

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A wake-up for a task that is not known here: the row waits, with the reason, for a worker that knows it."""
        headers = message.headers
        log.warning("task.unknown", job=headers["id"], task=headers["task"])
        reason = f"worker {self.hostname} consumes this queue but does not know the task {headers['task']}"
        self.clerk.submit(store.changed, "unknown_task", id=headers["id"], reason=reason)
        message.ack_log_error(log, self.connection_errors)

    # ---- the broker

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Celery's connection; on Redis with a channel that keeps no books about wake-ups."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        if connection.get_transport_cls() is redis.Transport:
            connection._transport = Transport(client=connection)
        return self.ensure_connected(connection)

    def on_close(self) -> None:
        """The broker is gone. What was received stays good, for the truth is in the rows."""

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker while everything else goes on: results, lost children, time limits, due jobs."""
        probe = _Probe(conn.clone())
        before: set[Any] = set()
        mine: set[Any] = set()
        pumping = False
        while not probe.connected(BROKER_PAUSE if not self.hub or not pumping else 0.0):
            maybe_shutdown()
            if self.hub and self.pool is not None and not pumping:
                pumping = True
                before = _entries(self.hub)
                self.controller.register_with_event_loop(self.hub)
                self._handle = self._handle or self._local_handler()
                mine = _entries(self.hub) - before
            if pumping:
                self._pump(0.2)
        for entry in mine:
            self.timer.cancel(entry)
        self.first_connection_attempt = False
        if pumping:  # should this connection fail, too, Celery cancels every timer that is not in here
            self.timer_entries_before_start |= _entries(self.hub) - before - mine
        conn.connect()
        return conn

    def _local_handler(self) -> Any:
        if not self.strategies:
            self.update_strategies()
        return self.create_task_handler()

    def _pump(self, seconds: float) -> None:
        loop = self.hub.create_loop()
        timer = self.timer.call_after(seconds, _nothing)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            next(loop, None)
        self.timer.cancel(timer)


class _Probe:
    """Tries in the background whether the broker can be reached."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._reached = threading.Event()
        threading.Thread(target=self._run, name="trilho-probe", daemon=True).start()

    def connected(self, wait: float) -> bool:
        """Whether the broker answered."""
        return self._reached.wait(wait)

    def _run(self) -> None:
        warned = False
        while True:
            try:
                self._connection.connect()
                self._connection.default_channel  # noqa: B018 - Redis connects here
                break
            except Exception as error:  # whatever the transport raises
                if not warned:
                    log.warning("broker.away", error=repr(error))
                warned = True
                time.sleep(BROKER_PAUSE)
        self._connection.release()
        self._reached.set()


def _entries(hub: Any) -> set[Any]:
    return {scheduled.entry for scheduled in hub.timer.queue}


def _spare(message: Any) -> None:
    """Spare Celery what it would decode for nothing: a wake-up has no arguments, and says "expired" to others only."""
    message.headers.pop("expires", None)
    message._decoded_cache = NO_ARGUMENTS


def _nothing() -> None:
    """Ends a wait of the event loop."""


def _message_of(job: DueJob | NewJob) -> HandedOver:
    return HandedOver(
        body=EMPTY_BODY,
        delivery_tag=job.id,
        content_type="application/json",
        content_encoding="utf-8",
        headers={**wakeup_headers(job), "trilho_direct": True},
        properties={"correlation_id": job.id, "priority": job.priority},
        delivery_info={"exchange": "", "routing_key": job.queue, "redelivered": False},
        channel=None,
        accept={"application/json"},
    )
