"""The dispatcher: the loops that keep promises. Any number may run; what must be single is a leased duty."""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import UUID

from trilho.db.pool import LOST, Connection
from trilho.dispatcher import plans
from trilho.dispatcher.due import HandOver, Publish
from trilho.dispatcher.endings import Decide, Expire
from trilho.dispatcher.lost import FindLost, Marks
from trilho.dispatcher.port import Hands
from trilho.dispatcher.recovery import Recover
from trilho.dispatcher.retention import Retain, keeping
from trilho.dispatcher.store import cancel_requests, strays
from trilho.events.relay import Relay
from trilho.events.retention import expire
from trilho.jobs import stats
from trilho.log import get_logger
from trilho.processes.lease import Identity, Lease
from trilho.processes.shared import SharedState
from trilho.processes.store import ProcessInfo, Pulse, forget, take_duty

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.dispatcher")

DUTY_LEASE = 5.0
AWAY = 0.5  # seconds between two attempts to reach PostgreSQL


@dataclass
class Loop:
    """Something to do again and again: `every` seconds, and only where this process has the duty, if it is one."""

    name: str
    act: Callable[[Connection], object]
    every: float
    duty: bool = False
    next_at: float = 0.0
    ours_until: float = 0.0
    ask_at: float = 0.0

    def is_ours(self, connection: Connection, owner: UUID) -> bool:
        """Whether this process has the duty; asks PostgreSQL only when it has to renew, or may hope to get it."""
        now = time.monotonic()
        if now >= self.ask_at:
            self.ask_at = now + DUTY_LEASE / 2
            self.ours_until = now + DUTY_LEASE if take_duty(connection, self.name, owner, DUTY_LEASE) else 0.0
        return now < self.ours_until


@dataclass
class Dispatcher:
    """Runs the loops in one thread, on one connection of its own."""

    app: "Trilho"
    identity: Identity
    hands: Hands | None = None
    loops: list[Loop] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _poked: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.relay = Relay(self.app.database, self.identity, self.app.settings.tick)
        self._hand_over = HandOver(self.hands) if self.hands is not None else None
        self.loops = self._loops()

    def _loops(self) -> list[Loop]:
        settings, broker = self.app.settings, self.app.impatient_broker
        tick = settings.tick
        publish = Publish(broker) if self.hands is not None else Publish(broker, after=0.0)
        shared = [
            Loop("recover", Recover(self.app), min(1.0, settings.lease / 4)),
            Loop("publish", publish, tick, duty=True),
            Loop("lost", FindLost(broker, settings.resend_grace), max(tick, settings.resend_grace / 5), duty=True),
            Loop("sample", Sampler(), 1.0, duty=True),
            Loop("decide", Decide(self.app), tick, duty=True),
            Loop("expire", Expire(self.app), 1.0, duty=True),
            Loop("retain", Retain(keeping(settings)), tick, duty=True),
            Loop("forget", forget, 60.0, duty=True),
            Loop("analyse", plans.analyse_grown, plans.EVERY, duty=True),
            Loop("expire log", expire, 1.0, duty=True),
            Loop("wake sagas", self.app.sagas.wake_due, tick, duty=True),
        ]
        if self.hands is None or self._hand_over is None:
            return shared
        hands, identity = self.hands, self.identity
        return [
            Loop("hand over", self._hand_over, tick),
            Loop("cancel", lambda c: hands.cancel(cancel_requests(c, identity.incarnation)), tick),
            Loop("strays", lambda c: hands.settle_strays(strays(c, identity.incarnation, hands.tokens())), 5.0),
            Loop("marks", Marks(hands, settings.resend_grace), max(tick, settings.resend_grace / 5)),
            *shared,
        ]

    # ---- life

    def start(self) -> None:
        """Begin in a thread."""
        self._thread = threading.Thread(target=self.run, name="trilho-dispatcher", daemon=True)
        self._thread.start()
        self.relay.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()
        self.relay.stop()
        self._poked.set()

    def poke(self) -> None:
        """Hand over due jobs now: some were given back."""
        self._poked.set()

    def on_room(self) -> None:
        """A pool process came free: look now if the last look left something."""
        if self._hand_over is not None and self._hand_over.may_have_more:
            self._poked.set()

    def run(self) -> None:
        """Run until stopped; a lost connection or a failing loop never ends it."""
        connection: Connection | None = None
        while not self._stopping.is_set():
            try:
                connection = connection or self.app.database.open_connection()
                self._round(connection)
            except LOST as error:
                log.warning("postgresql.away", error=str(error).strip())
                if connection is not None:
                    connection.close()
                connection = None
                self._stopping.wait(AWAY)
            self._poked.wait(self._pause())
        if connection is not None:
            connection.close()

    def _pause(self) -> float:
        return max(0.02, min(loop.next_at for loop in self.loops) - time.monotonic())

    def _round(self, connection: Connection) -> None:
        poked = self._poked.is_set()
        self._poked.clear()
        for loop in self.loops:
            now = time.monotonic()
            if now >= loop.next_at or (poked and loop.name == "hand over"):
                loop.next_at = now + loop.every
                self._act(connection, loop)

    def _act(self, connection: Connection, loop: Loop) -> None:
        try:
            if loop.duty and not loop.is_ours(connection, self.identity.incarnation):
                return
            if loop.act(connection) is True:
                loop.next_at = time.monotonic()  # there is more, after the other loops had their turn
        except LOST:
            raise
        except Exception:  # one loop that fails must not stop the others
            log.exception("loop.failed", loop=loop.name)
            if connection.info.transaction_status != 0:
                connection.rollback()


class Sampler:
    """Counts at most a twentieth of the time, however deep the queues are."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._rounds = 0

    def __call__(self, connection: Connection) -> None:
        """Write a sample, unless the last one was too dear for another now."""
        began = time.monotonic()
        if began < self._not_before:
            return
        stats.sample(connection)
        self._rounds += 1
        if self._rounds % 60 == 0:
            stats.forget_samples(connection)
        self._not_before = began + 20 * (time.monotonic() - began)


def run_alone(app: "Trilho", stop: threading.Event) -> None:
    """The dispatcher as a process of its own."""
    info = ProcessInfo(
        kind="dispatcher",
        name=f"dispatcher@{socket.gethostname()}",
        hostname=socket.gethostname(),
        pid=os.getpid(),
        version=version("trilho"),
        lease=app.settings.lease,
    )
    lease = Lease(app.database, info, Pulse, SharedState(1), on_lost=lambda: None)
    dispatcher = Dispatcher(app, lease)
    lease.start()
    dispatcher.start()
    stop.wait()
    dispatcher.stop()
    lease.stop()
