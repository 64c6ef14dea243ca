"""Keeping the processes of a stack running: start, watch, restart, scale, stop."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from trilho.cli import control, logs
from trilho.cli.member import Member, State, ending
from trilho.cli.plan import changes, names
from trilho.cli.stack import ProcessInfo
from trilho.errors import TrilhoError

TICK = 0.1

Processes: TypeAlias = tuple[ProcessInfo, ...]


class NeverReady(TrilhoError):
    """A process of the stack crashed again and again before it was ready once."""


class Supervisor:
    """Watches members and does what is due.

    `grace` is how many seconds a process may take to stop; `new` makes the member of a kind with a name; `publish` gets
    the processes whenever something about them changed.
    """

    def __init__(
        self,
        data: Path,
        grace: float,
        new: Callable[[str, str], Member],
        say: Callable[[str], None],
        publish: Callable[[Processes], None],
    ) -> None:
        self._data = data
        self._grace = grace
        self._new = new
        self._say = say
        self._publish = publish
        self._published: Processes | None = None
        self.members: dict[str, Member] = {}
        self.wanted: dict[str, int] = {}
        self.established = False
        self.hard = False

    def kill_now(self) -> None:
        """End everything at once; safe to call from a signal handler while `stop` waits."""
        self.hard = True
        for member in list(self.members.values()):
            if (pid := member.runner.pid) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def add(self, member: Member) -> None:
        """Start a member and watch it from now on."""
        self.members[member.name] = member
        member.start()

    def tick(self) -> None:
        """One look at everything; raises NeverReady."""
        for kind, count in control.take(self._data).items():
            if count != self.wanted.get(kind):
                self._say(f"scaling from {self.wanted.get(kind, 0)} to {count} {kind}s")
                self.wanted[kind] = count
        for member in list(self.members.values()):
            self.look_at(member)
        for kind, count in self.wanted.items():
            self._adjust(kind, count)
        self.established = self.established or self._all_running()
        self._show()

    def look_at(self, member: Member) -> None:
        """Do what is due for one member; raises NeverReady."""
        if member.state is State.STOPPING:
            self._finish_stop(member)
        elif member.state is State.RESTARTING:
            if time.monotonic() >= member.restart_at:
                self._restart(member)
        elif not member.runner.running:
            self._ended(member)
        elif member.became_ready():
            self._say(f"{member.name} is ready{member.greeting and f': {member.greeting}'}")

    def stop(self, members: Iterable[Member]) -> None:
        """End these members together and wait for them; when `hard` is set, at once."""
        waiting = list(members)
        for member in waiting:
            member.stop(self._grace)
        self._show()
        while any(member.runner.running for member in waiting) and not self.hard:
            if all(time.monotonic() > member.stop_before for member in waiting):
                self._say("still there after the grace period, killed: " + ", ".join(_alive(waiting)))
                break
            time.sleep(TICK / 2)
        for member in waiting:
            member.runner.kill()
            del self.members[member.name]
        self._show()

    def _show(self) -> None:
        infos = tuple(member.info() for member in self.members.values())
        if infos != self._published:
            self._publish(infos)
            self._published = infos

    def _all_running(self) -> bool:
        return all(member.state is State.RUNNING for member in self.members.values())

    def _finish_stop(self, member: Member) -> None:
        if member.runner.running and time.monotonic() < member.stop_before:
            return
        member.runner.kill()
        del self.members[member.name]
        self._say(f"{member.name} has stopped")

    def _ended(self, member: Member) -> None:
        if not member.needless:
            self._crashed(member)
            return
        del self.members[member.name]
        self.wanted[member.runner.kind] = 0
        self._say(f"{member.name} is left out: there is nothing for it to do")

    def _crashed(self, member: Member) -> None:
        how = ending(member.runner.exit_code)
        member.crashed()
        # Only while the stack comes up: later, a worker that cannot start must not take the others with it.
        if not self.established and member.backoff.hopeless(ever_ready=member.ever_ready):
            log = logs.path_of(self._data, member.name)
            last = "".join(logs.tail(log, 1))
            raise NeverReady(
                f"{member.name} {how} {member.backoff.crashes} times and was never ready: {last} (see {log})"
            )
        self._say(f"{member.name} {how}, starts again in {member.backoff.delay:g} s")

    def _restart(self, member: Member) -> None:
        try:
            member.start()
        except TrilhoError as error:
            self._say(str(error))

    def _adjust(self, kind: str, count: int) -> None:
        present = {name: member for name, member in self.members.items() if member.runner.kind == kind}
        leaving = [name for name, member in present.items() if member.state is State.STOPPING]
        start, stop = changes(names(kind, count), present, leaving)
        for name in stop:
            present[name].stop(self._grace)
        for name in start:
            self.add(self._new(kind, name))


def _alive(members: Iterable[Member]) -> list[str]:
    return [member.name for member in members if member.runner.running]
