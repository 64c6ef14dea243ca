"""The rounds of the sagas, and their tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg

from bench import machine, peers
from bench.child import ask
from bench.counting import NEXT_TRANSACTION
from bench.figures import Figures, Rounds
from bench.measure import TIMES
from bench.notes import note
from bench.peers import NoPeers
from bench.sagas import recovery
from bench.sagas.worker import AT_ONCE, POOLS, worker
from bench.stand import Stand, stand
from bench.table import compact, factor, markdown, number
from bench.wire import Wire

ASKED = 5.0
"""Eight at once, against DBOS."""
FEW, MORE = 20, 60
"""Sagas of the two passes whose difference is counted: what a start costs falls out."""
BROKER = 2
COUNTED = {
    "turns": "round trips to PostgreSQL per saga",
    "turns_many": f"the same, {AT_ONCE} at once",
    "commits": "writing commits per saga",
    "commits_many": f"the same, {AT_ONCE} at once",
}
LIBRARIES = ("trilho", "celery", "psycopg", "SQLAlchemy")

HOW = """\
Four steps that do nothing, each recorded, on the same PostgreSQL; started and waited for by one process, in
alternation; medians of {rounds} rounds of {sagas} sagas. DBOS {dbos} runs a workflow in the process and thread that
calls it. Trilho's sagas run in one worker (prefork: two processes; threads: eight in one process): starting one and
waiting for its end includes the way there and back. Round trips and writing commits are counted by a proxy and by
transaction ids, of callers and workers together. Recovery: {many:,} sagas are started in one commit, the worker is
killed with SIGKILL when a quarter of them is done, and a new one is started at once; time counts from the moment when
it takes jobs."""


@dataclass(frozen=True)
class Runner:
    """Runs so many sagas, so many at once, and says how many a second it did."""

    database_url: str
    run: Callable[[str, int, int], float]

    def visit(self, sagas: int) -> Figures:
        """One round."""
        return {
            "one": self.run(self.database_url, sagas, 1),
            "many": self.run(self.database_url, sagas * AT_ONCE // 2, AT_ONCE),
        }

    def counted(self) -> Figures:
        """Round trips and writing commits of one saga, one at a time and many at once."""
        with Wire(self.database_url) as wire, psycopg.connect(self.database_url, autocommit=True) as connection:
            return self._counted(wire, connection, "", 1) | self._counted(wire, connection, "_many", AT_ONCE)

    def _counted(self, wire: Wire, connection: psycopg.Connection, how: str, threads: int) -> Figures:
        seen = []
        for count in (FEW * threads, MORE * threads):
            before = wire.turns, _transactions(connection)
            self.run(wire.url, count, threads)
            seen.append((wire.turns - before[0], _transactions(connection) - before[1]))
        sagas = (MORE - FEW) * threads
        return {name + how: (seen[1][n] - seen[0][n]) / sagas for n, name in enumerate(("turns", "commits"))}


def report(rounds: int, sagas: int) -> list[str]:
    """Every table, with what one has to know to read it."""
    with stand() as servers:
        runners, missing = _runners(servers)
        head = ["# Sagas", "", *machine.describe(servers, LIBRARIES), *missing, ""]
        measured = _measured(runners, rounds, sagas)
        note("counting round trips")
        counts = {name: runner.counted() for name, runner in runners.items()}
        note("recovery")
        recovered = recovery.measure(_environment(servers))
    parts = [comparison(measured, counts, list(runners)), recovery_table(recovered)]
    body = [line for part in parts for line in (*part, "")]
    return [*head, *body, HOW.format(rounds=rounds, sagas=sagas, dbos=peers.version("dbos"), many=recovery.SAGAS)]


def _runners(servers: Stand) -> tuple[dict[str, Runner], list[str]]:
    environment = _environment(servers)
    url = environment["TRILHO_DATABASE_URL"]
    ours = {pool: Runner(url, partial(_trilho, environment, pool)) for pool in POOLS}
    try:
        python = peers.python()
    except NoPeers as error:
        line = f"Without DBOS, which cannot be installed here: {error}"
        note(line)
        return ours, [line]
    with psycopg.connect(servers.postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE dbos")
    dbos = Runner(servers.postgres.url("dbos"), lambda url, count, threads: _dbos(python, url, count, threads))
    return {"dbos": dbos, **ours}, []


def _environment(servers: Stand) -> dict[str, str]:
    return {"TRILHO_DATABASE_URL": servers.postgres.url("bench"), "TRILHO_BROKER_URL": servers.valkey.url(BROKER)}


def _trilho(environment: Mapping[str, str], pool: str, url: str, count: int, threads: int) -> float:
    ours = {**environment, "TRILHO_DATABASE_URL": url}
    with worker(ours, pool=pool) as child:
        child.answer()
        return float(ask(["bench.sagas.shop", "run", count, threads], ours)["rate"])


def _dbos(python: Path, url: str, count: int, threads: int) -> float:
    return float(ask(["bench.sagas.dbos_app", url, count, threads], python=python)["rate"])


def _transactions(connection: psycopg.Connection) -> int:
    row = connection.execute(NEXT_TRANSACTION).fetchone()
    return int(row[0]) if row else 0


def _measured(runners: Mapping[str, Runner], rounds: int, sagas: int) -> Rounds:
    measured = Rounds()
    for turn in range(rounds):
        for name in runners if turn % 2 == 0 else reversed(list(runners)):
            note(f"round {turn + 1} of {rounds}: {name}")
            measured.add(name, runners[name].visit(sagas))
    return measured


def comparison(rounds: Rounds, counts: Mapping[str, Figures], names: list[str]) -> list[str]:
    """Medians with spreads, and the ratios Trilho / DBOS."""
    rows = []
    for key, title in (("one", "one at a time [sagas/s]"), ("many", f"{AT_ONCE} at once [sagas/s]")):
        cells = [compact(summary, number) for name in names if (summary := rounds.summary(name, key))]
        ratios = [rounds.ratio(key, ours=pool, theirs="dbos") for pool in POOLS]
        told = [compact(ratio, factor) if ratio else "" for ratio in ratios]
        rows.append((title, *cells, *told, f"≥ {ASKED:g}{TIMES}" if key == "many" else ""))
    for key, title in COUNTED.items():
        rows.append((title, *(number(counts[name][key]) for name in names), *("" for _ in POOLS), ""))
    titles = {"dbos": "DBOS"} | {pool: f"Trilho, {pool}" for pool in POOLS}
    return markdown(("", *(titles[name] for name in names), *(f"{pool} / DBOS" for pool in POOLS), "asked"), rows)


def recovery_table(figures: Figures) -> list[str]:
    """Seconds."""
    rows = [
        (f"{recovery.SAGAS:,} sagas, undisturbed", number(figures["without"])),
        ("after the kill, until the first goes on to its end", number(figures["first"])),
        (f"after the kill, until the {figures['left']:.0f} that were left are done", number(figures["all"])),
    ]
    return markdown(("recovery", "s"), rows)
