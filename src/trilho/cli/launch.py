"""The life of a stack: from an empty machine to everything ready, and back to an empty machine."""

import os
import shutil
import sys
import time
from functools import partial

from trilho.cli import catcher, control, logs, plan, probes, servers
from trilho.cli.descendants import descendants
from trilho.cli.member import Member, ending
from trilho.cli.occupation import Occupation
from trilho.cli.plan import Plan, Urls
from trilho.cli.process import Process
from trilho.cli.program import Program
from trilho.cli.servers import ServerRunner
from trilho.cli.signals import Signals
from trilho.cli.stack import ProcessInfo, Stack
from trilho.cli.streamer import Streamer
from trilho.cli.supervisor import TICK, Supervisor
from trilho.cli.terminal import Terminal
from trilho.embedded import Kafka
from trilho.embedded.leftovers import end
from trilho.embedded.ports import HOST
from trilho.embedded.server import Server
from trilho.errors import TrilhoError
from trilho.settings import STACK_FILE, Settings

GRACE_MARGIN = 10.0
"""Seconds that a process gets beyond the grace that it gives its own work."""

SERVERS = frozenset({"postgres", "valkey", "mail", "kafka"})
"""What the other processes use until their end."""


class MigrationFailed(TrilhoError):
    """The database could not be brought up to date; the message has the reason."""


class Launch:
    """One run of `trilho up`."""

    def __init__(self, asked: Plan, settings: Settings) -> None:
        self._plan = asked
        self._settings = settings
        self._urls: Urls | None = None
        self._begin = time.monotonic()
        self._streamer = Streamer(asked.data, Terminal())
        grace = settings.shutdown_grace + GRACE_MARGIN
        self._supervisor = Supervisor(asked.data, grace, self._new_member, self._streamer.say, self._publish)

    def run(self) -> None:
        """Run until Ctrl-C or SIGTERM, then leave no process; raises TrilhoError when it cannot be brought up."""
        with Occupation(self._plan), self._streamer, Signals(self._supervisor.kill_now) as signals:
            try:
                self._bring_up()
                self._watch()
            except KeyboardInterrupt:
                self._say("stopping: running jobs may finish; Ctrl-C again ends them at once")
            finally:
                signals.interrupt_no_more()
                self._wind_up()

    def _bring_up(self) -> None:
        self._say(f"starting {self._plan.app}; data in {self._plan.data}")
        control.forget(self._plan.data)
        if left := descendants(self._plan.data):
            end(left)
            self._say(f"ended {len(left)} processes that an earlier run had left behind")
        port = self._mail_port()
        smtp = self._settings.smtp_url if port is None else catcher.url(port)
        self._urls = urls = self._start_servers(smtp)
        if port is not None:
            self._supervisor.add(self._new_mail(urls, port))
        self._migrate(plan.migration(self._plan, urls))
        if self._plan.api:
            self._supervisor.add(self._new_api(urls))
        self._supervisor.wanted = {plan.WORKER: self._plan.workers, plan.CONSUMER: 1}

    def _start_servers(self, smtp: str | None) -> Urls:
        data, given = self._plan.data, self._settings
        postgres, valkey = servers.postgres(data), servers.valkey(data)
        kafka = self._kafka()
        return Urls(
            self._url("postgres", postgres, given.database_url),
            self._url("valkey", valkey, given.broker_url),
            smtp,
            self._url("kafka", kafka, given.kafka_bootstrap) if kafka else given.kafka_bootstrap,
        )

    def _url(self, kind: str, server: Server, given: str | None) -> str:
        """That of the server which the user named, or of our own, started."""
        if given and not server.was_at(given):
            return given
        self._start_server(kind, server)
        return server.url()

    def _kafka(self) -> Kafka | None:
        """The Kafka that this stack has to start, made sure that it can."""
        given, port = self._settings.kafka_bootstrap, self._plan.kafka_port
        server = servers.kafka(self._plan.data, port)
        if (not given and port is None) or (given and not server.was_at(given)):
            return None
        if not server.fetched():
            self._say("fetching Kafka with Maven; this happens once")
        servers.check_kafka(port)
        return server

    def _mail_port(self) -> int | None:
        """Where the stack catches mail; None if it does not."""
        if not catcher.wanted(self._plan.data, self._settings.smtp_url):
            return None
        if not catcher.is_installed():
            self._say('no mail is caught: that needs pip install "trilho[mail]"')
            return None
        return catcher.choose_port(self._plan.data)

    def _start_server(self, kind: str, server: Server) -> None:
        # `start` of a server returns when it accepts connections, so its first look finds it ready.
        member = Member(ServerRunner(kind, server), ready=lambda: server.running)
        self._supervisor.add(member)
        member.greeting = f"port {server.port}"
        self._supervisor.look_at(member)

    def _migrate(self, program: Program) -> None:
        process = self._process(program)
        said = logs.Follower(process.log)
        process.start()
        try:
            while process.running:
                time.sleep(TICK / 2)
        finally:
            process.kill()
        if process.exit_code != 0:
            last = [line for line in said.lines() if line.strip()][-1:] or [f"it {ending(process.exit_code)}"]
            raise MigrationFailed(f"cannot migrate the database: {last[0].removeprefix('trilho: ')}")

    def _new_mail(self, urls: Urls, port: int) -> Member:
        process = self._process(plan.mail(self._plan, urls, port))
        return Member(process, ready=partial(probes.greets, HOST, port), greeting=f"port {port}")

    def _new_api(self, urls: Urls) -> Member:
        process = self._process(plan.api(self._plan, urls))
        ready = partial(probes.answers, self._plan.host, self._plan.port)
        return Member(process, ready, greeting=str(self._plan.api_url))

    def _new_member(self, kind: str, name: str) -> Member:
        assert self._urls is not None
        return (self._new_worker if kind == plan.WORKER else self._new_consumer)(self._urls, name)

    def _new_consumer(self, urls: Urls, name: str) -> Member:
        process = self._process(plan.consumer(self._plan, urls, name))
        return Member(
            process,
            ready=lambda: probes.registered(urls.database, process.pid, plan.CONSUMER),
            greeting="handles events",
            optional=True,
        )

    def _new_worker(self, urls: Urls, name: str) -> Member:
        process = self._process(plan.worker(self._plan, urls, name))
        return Member(process, ready=lambda: probes.registered(urls.database, process.pid), greeting="takes jobs")

    def _process(self, program: Program) -> Process:
        return Process(program, logs.path_of(self._plan.data, program.name))

    def _watch(self) -> None:
        while not self._supervisor.established:
            self._supervisor.tick()
            time.sleep(TICK)
        self._say(f"everything is up after {time.monotonic() - self._begin:.1f} s")
        for line in plan.welcome(self._plan, _own_command(), self._urls.kafka if self._urls else None):
            self._say(line)
        while True:
            self._supervisor.tick()
            time.sleep(TICK)

    def _publish(self, processes: tuple[ProcessInfo, ...]) -> None:
        if self._urls is not None:
            self._stack(self._urls, processes).write()

    def _stack(self, urls: Urls, processes: tuple[ProcessInfo, ...]) -> Stack:
        return Stack(
            pid=os.getpid(),
            app=self._plan.app,
            data=str(self._plan.data),
            database_url=urls.database,
            broker_url=urls.broker,
            smtp_url=urls.smtp,
            kafka_bootstrap=urls.kafka,
            api_url=self._plan.api_url,
            processes=processes,
        )

    def _wind_up(self) -> None:
        """Programs first, then the servers that they use, then whatever is left of either."""
        members = list(self._supervisor.members.values())
        used = [member for member in members if member.runner.kind in SERVERS]
        self._supervisor.stop([member for member in members if member not in used])
        self._supervisor.stop(used)
        end(descendants(self._plan.data))
        (self._plan.data / STACK_FILE).unlink(missing_ok=True)
        self._say("stopped")

    def _say(self, text: str) -> None:
        self._streamer.say(text)


def _own_command() -> str:
    """How a shell in the same folder calls this program."""
    return "trilho" if shutil.which("trilho") else os.path.relpath(sys.argv[0])
