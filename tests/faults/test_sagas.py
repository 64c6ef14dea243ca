"""Workers are killed at every fault point of sagas: each run completes or is undone completely, each effect is there
once, undos come in reverse order, and no run is left behind."""

import itertools
import os
import random
import re
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import trilho
from tests.faults.apps import sagas
from tests.faults.conftest import MakeLab
from tests.lab.lab import Lab
from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from tests.lab.worker import Worker
from trilho import Trilho
from trilho.embedded import leash

WORKER = "tests.faults.apps.saga_worker"
SOURCE = Path(trilho.__file__).parent / "sagas"
POINT = re.compile(r"""\bhit\(\s*"(saga\.[a-z_.]+)"\s*\)""")
POINTS = sorted({point for file in SOURCE.rglob("*.py") for point in POINT.findall(file.read_text())})
IN_CLIENTS = ["saga.cancel_before_commit"]
IN_CONSUMERS = ["saga.deliver_before_wake"]
RECOVERY = ["recover.selected", "recover.before_commit", "recover.after_commit"]
IN_WORKERS = [point for point in POINTS if point not in IN_CLIENTS + IN_CONSUMERS]
TIMERS = ["saga.timer_before_commit", "saga.timer_after_commit"]
WITH_ITS_WORKER = [  # the others end one process of its pool, in pairs: test_saga_pairs.py
    *TIMERS,
    "saga.step_before_commit",
    "saga.record_after_commit",
    "saga.end_before_commit",
]

DONE = ["flight", "car", "train", "room", "breakfast"]
SAME_TIME = {"car", "train"}


class World:
    """Runs of `trip`, the workers that are hurt, and the count."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        for table in sagas.TABLES:
            lab.query(table)
        self.app = Trilho("lab", broker=lab.broker_url, database=lab.database_url)
        self.trip = self.app.saga(name="trip")(sagas.trip.function)
        self.taxi = self.app.saga(name="taxi")(sagas.taxi.function)
        self.app.saga(name="purchase", events=("paid",))(sagas.purchase.function)
        self.numbers = itertools.count()
        self.kinds: dict[str, str] = {}

    def worker(self, name: str, fault: str = "", *, wait: bool = False) -> Worker:
        options = {"lease": 2.0, "max_crashes": 100}
        arguments = ("-P", "solo")
        return self.lab.worker(name, app=WORKER, concurrency=1, arguments=arguments, wait=wait, fault=fault, **options)

    def consumer(self, fault: str = "") -> "subprocess.Popen[bytes]":
        """A process that delivers events; ended with the test."""
        command = [sys.executable, "-m", "trilho.cli", "consumer", "-A", "tests.faults.apps.sagas"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRILHO_")}
        log = self.lab.folder / "consumer.log"
        self.lab.logs.append(log)
        with log.open("ab") as output:
            process = subprocess.Popen(
                leash.command(os.getpid(), signal.SIGKILL, -1, -1, command),
                cwd=ROOT,
                env=environment | self.lab.environment(fault=fault),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.lab._stack.callback(end, process)
        return process

    def start(self, count: int, kinds: tuple[str, ...] = ("good", sagas.BAD)) -> None:
        for kind in itertools.islice(itertools.cycle(kinds), count):
            run = f"{kind}-{next(self.numbers)}"
            self.kinds[run] = kind
            self.trip.start(run, kind, id=run)

    def unfinished(self) -> list[tuple[object, ...]]:
        return self.lab.query(
            "SELECT id, state, stuck FROM trilho.sagas WHERE state NOT IN ('COMPLETED', 'COMPENSATED') LIMIT 5"
        )

    def check(self) -> None:
        """Everything has come to its end, and adds up."""
        eventually(self.unfinished, lambda rows: not rows, timeout=60, every=0.2)
        states = dict(self.lab.query("SELECT id, state FROM trilho.sagas WHERE parent_id IS NULL"))
        moves: dict[str, list[str]] = defaultdict(list)
        for run, what in self.lab.query("SELECT saga, what FROM moves ORDER BY number"):
            moves[str(run)].append(str(what))
        ends = {run: (kind, states[run], moves[run]) for run, kind in self.kinds.items()}
        assert {run: end for run, end in ends.items() if not right(*end)} == {}
        calls = {run for (run,) in self.lab.query("SELECT saga FROM calls")}
        assert calls >= set(self.kinds)
        assert self.lab.query("SELECT id FROM trilho.jobs WHERE finished_at IS NULL") == []


def end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def right(kind: str, state: object, moves: list[str]) -> bool:
    """Whether a run ended as it has to, with each effect once; the car and the train are booked at the same time."""
    done = [what for what in moves if not what.startswith("undo ")]
    undone = [what.removeprefix("undo ") for what in moves if what.startswith("undo ")]
    if kind != sagas.BAD:
        return state == "COMPLETED" and ordered(done) == DONE and not undone
    taxi, *undone = undone
    backwards = taxi == "taxi, known" and ordered(undone[::-1]) == DONE and moves[:5] == done
    return state == "COMPENSATED" and ordered(done) == DONE and backwards


def ordered(what: list[str]) -> list[str]:
    """With the two that have no order between them in that of DONE."""
    return [*what[:1], *sorted(what[1:3]), *what[3:]]


@pytest.fixture
def world(make_lab: MakeLab, database: str, valkey: str) -> World:
    return World(make_lab(database=database, broker=valkey))


@pytest.mark.timeout(240)  # seventeen workers have to start
def test_whole_worker_killed_at_each_of_these_points(world: World) -> None:
    """All armed workers share the runs, so that most kills strike what another kill left behind."""
    random.Random(6).shuffle(shuffled := list(WITH_ITS_WORKER))
    armed = [world.worker(point, f"{point}=kill@2") for point in shuffled]
    recovering = [world.worker(point, f"{point}=kill") for point in RECOVERY]
    world.start(10)

    def all_struck() -> list[str]:
        if not world.unfinished():
            world.start(4)
        left = [worker.options.name for worker in armed if worker.alive]
        if len(left) <= len(RECOVERY):  # what is a duty falls to one worker, which must be one of these in the end
            for worker in recovering:
                worker.end()
        return left

    eventually(all_struck, lambda left: not left, timeout=150, every=0.3)
    world.worker("healthy", wait=True)
    world.check()


def test_step_outside_of_the_database_that_kills_its_process_again_and_again_is_undone(world: World) -> None:
    """It never ended, so nobody knows what is left of it: a person sees where the run is stuck, and cancels it."""
    world.lab.worker("prefork", app=WORKER, concurrency=1, max_crashes=2)
    handle = world.taxi.start("ann", id="ann")
    eventually(lambda: handle.state, lambda state: state == "STUCK", timeout=60)
    assert [(step.name, step.state, step.attempt) for step in handle.history()] == [
        ("move", "DONE", 1),
        ("call_and_die", "WAITING", 1),
    ]
    handle.cancel()
    eventually(lambda: handle.state, lambda state: state == "COMPENSATED", timeout=60)
    assert world.lab.query("SELECT what FROM moves ORDER BY number") == [
        ("coat",),
        ("undo taxi, unknown",),
        ("undo coat",),
    ]
    assert world.lab.query("SELECT saga, count(*) FROM calls GROUP BY saga") == [("ann", 3)]


def test_consumer_killed_while_it_delivers_loses_no_event(world: World) -> None:
    runs = [f"purchase-{number}" for number in range(5)]
    for run in runs:
        world.app.sagas.definitions["purchase"].start(run, id=run)
    world.worker("healthy", wait=True)
    for run in runs:
        world.app.bus.publish("paid", {"amount": 7}, key=run)
    assert world.consumer("saga.deliver_before_wake=kill").wait(timeout=60) == -signal.SIGKILL
    world.consumer()
    world.check()
    moves = world.lab.query("SELECT saga, what FROM moves ORDER BY saga")
    assert moves == [(run, "paid 7") for run in runs]
