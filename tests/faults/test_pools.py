"""Each pool under faults: one suite of claims, inherited by each; and what only bodies in threads can suffer."""

import random
import signal
import time
from typing import ClassVar

from tests.faults.conftest import MakeLab
from tests.faults.test_frozen_worker import overlap
from tests.lab.database import port_of, with_port
from tests.lab.lab import RECOVERY, Lab
from tests.lab.ledger import EXACT, account
from tests.lab.poll import always, eventually
from tests.lab.proxy import FaultProxy
from tests.lab.worker import Worker
from trilho import JobStateError


class Pool:
    """The claims."""

    name: ClassVar[str]

    def worker(self, lab: Lab, name: str = "w1", **settings: object) -> Worker:
        options = {"concurrency": 2, "arguments": ("-P", self.name)} | settings
        return lab.worker(name, **options)  # type: ignore[arg-type]

    def test_sigterm_gives_back_what_is_not_finished(self, lab: Lab) -> None:
        first = self.worker(lab, lease=60, shutdown_grace=1)
        job_id = lab.send("ticks", "a", 30.0)
        lab.began("a")
        self.worker(lab, "w2", lease=60)
        first.terminate()
        assert first.wait(timeout=10) == 0
        lab.began("a", 2, timeout=10)
        lab.all_succeed(1)
        job = lab.job(job_id)
        assert (job.attempt, job.crash_count) == (2, 0)
        assert not overlap(lab.ledger.entries("a"))

    def test_sigquit_loses_nothing(self, lab: Lab) -> None:
        first = self.worker(lab)
        job_id = lab.send("ticks", "a", 30.0)
        lab.began("a")
        first.signal(signal.SIGQUIT)
        first.wait(timeout=15)
        self.worker(lab, "w2")
        lab.all_succeed(1, timeout=RECOVERY + 5)
        assert lab.job(job_id).crash_count == 0
        assert not overlap(lab.ledger.entries("a"))

    def test_jobs_of_a_killed_worker_run_again_within_its_lease(self, lab: Lab) -> None:
        first = self.worker(lab)
        lab.send("record", "a", 20.0)
        lab.began("a")
        self.worker(lab, "w2")
        first.kill()
        lab.began("a", 2, timeout=RECOVERY)
        lab.all_succeed(1)
        assert account(["a"], lab.effects()) == EXACT

    def test_worker_that_was_frozen_past_its_lease_is_fenced(self, lab: Lab) -> None:
        frozen = self.worker(lab)
        job_id = lab.send("record", "a", 3.0)
        lab.began("a")
        frozen.freeze()
        self.worker(lab, "w2")
        lab.all_succeed(1, timeout=RECOVERY + 5)
        finished = lab.job(job_id)
        frozen.thaw()
        always(lambda: lab.job(job_id), lambda job: job.finished_at == finished.finished_at, seconds=2)
        assert account(["a"], lab.effects()) == EXACT

    def test_worker_cut_off_from_the_database_stops_its_bodies_before_others_start_them(
        self, make_lab: MakeLab, database: str, valkey: str
    ) -> None:
        lab = make_lab(database=database, broker=valkey)
        with FaultProxy(port_of(database)) as proxy:
            self.worker(lab, database_url=with_port(database, proxy.port))
            lab.send("ticks", "a", 20.0)
            lab.began("a")
            self.worker(lab, "w2")
            proxy.set("black-hole")
            lab.began("a", 2, timeout=RECOVERY + 5)
            lab.all_succeed(1)
            proxy.set("pass")
        assert not overlap(lab.ledger.entries("a"))

    def test_cancel_that_races_with_the_end_has_one_winner(self, lab: Lab) -> None:
        self.worker(lab)
        chance, refused, keys = random.Random(7), set(), [f"job-{number}" for number in range(24)]
        for key in keys:
            job_id = lab.send("record", key, 0.05, task_id=key)
            lab.began(key)
            time.sleep(chance.uniform(0.0, 0.08))
            try:
                lab.app.jobs.cancel(job_id)
            except JobStateError:
                refused.add(key)
        eventually(lab.states, lambda s: s["SUCCESS"] + s["REVOKED"] == len(keys), timeout=20)
        succeeded = {key for key in keys if lab.job(key).state == "SUCCESS"}
        assert succeeded == set(lab.effects()) == refused


class TestPrefork(Pool):
    name = "prefork"


class InThreads(Pool):
    """What cannot be killed, and may not even be interruptible: `effect` sleeps in one system call."""

    def test_body_that_cannot_be_interrupted_does_not_keep_a_worker_from_ending(self, lab: Lab) -> None:
        first = self.worker(lab, lease=60, shutdown_grace=0.5)
        job_id = lab.send("stuck", "a", 60.0)
        lab.began("a")
        asked = time.monotonic()
        first.terminate()
        assert first.wait(timeout=15) == 0
        assert time.monotonic() - asked < 12
        self.worker(lab, "w2")
        lab.all_succeed(1, timeout=15)
        assert (lab.job(job_id).attempt, lab.job(job_id).crash_count) == (2, 0)

    def test_process_ends_itself_if_a_body_would_outlive_its_lease(
        self, make_lab: MakeLab, database: str, valkey: str
    ) -> None:
        lab = make_lab(database=database, broker=valkey)
        with FaultProxy(port_of(database)) as proxy:
            first = self.worker(lab, database_url=with_port(database, proxy.port))
            lab.send("stuck", "a", 20.0)
            lab.began("a")
            proxy.set("black-hole")
            assert first.wait(timeout=RECOVERY) == 1
            assert "process.ends_itself because='lease'" in first.log.read_text()
            proxy.set("pass")
        assert lab.states() == {"STARTED": 1}, "somebody took it while the body still ran"
        self.worker(lab, "w2")
        lab.all_succeed(1, timeout=RECOVERY + 5)

    def test_hard_time_limit_of_a_stuck_body_ends_the_process_and_only_that_job(self, lab: Lab) -> None:
        first = self.worker(lab)
        hung = lab.send("stuck", "a", 60.0, time_limit=1)
        lab.began("a")
        neighbour = lab.send("stuck", "b", 3.0) if self.name == "threads" else None
        assert first.wait(timeout=15) == 1
        job = lab.job(hung)
        assert (job.state, str(job.error).split(":")[0], job.crash_count) == ("FAILURE", "TimeLimitExceeded", 0)
        self.worker(lab, "w2")
        if neighbour is not None:
            eventually(lambda: lab.job(neighbour), lambda job: job.state == "SUCCESS" and job.crash_count == 0)


class TestThreads(InThreads):
    name = "threads"


class TestSolo(InThreads):
    name = "solo"
