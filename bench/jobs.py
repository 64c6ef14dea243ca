"""The rounds of the jobs, and their tables: Trilho beside stock Celery."""

from bench import counting, depth, history, machine, table
from bench.apps import STACKS
from bench.figures import Rounds
from bench.notes import note
from bench.stand import Stand, stand
from bench.visit import Load, visit

HOW = """\
Both stacks use the same PostgreSQL and Valkey and the same command line: one worker, prefork, two processes, log level
WARNING, every setting at its default; results are kept. The job does nothing and has 109 bytes of arguments. A round
visits both stacks, in changing order, each on empty queues and tables; cells are medians of {rounds} rounds of {jobs}
jobs with least and greatest, the ratio is the median of the rounds' ratios.

- Enqueue is measured without a worker, and to the end: until the last wake-up has left the process. Inside a
  transaction that saves a row, what the same transaction costs without a job is taken off. Celery has no such thing:
  it commits, then sends. Its `enqueue_many` is `apply_async` with one producer for all.
- Drain: a warm worker is held (`cancel_consumer`) until the backlog is complete, then let go; from the end of the first
  job to the end of the last, by the times that each stack writes into its results.
- CPU time is that of our own processes; PostgreSQL's includes its background work.
- Round trips and commits are counted in a pass of their own, by proxies between client and server: a client that speaks
  after the server spoke is one. Writing commits are transaction ids given out. An idle worker's are taken off."""


def report(load: Load, rows: int, finished: int) -> list[str]:
    """Every table, with what one has to know to read it."""
    with stand() as servers:
        return _report(servers, load, rows, finished)


def _report(servers: Stand, load: Load, rows: int, finished: int) -> list[str]:
    head = ["# Trilho beside Celery", "", *machine.describe(servers), ""]
    rounds = measured(servers, load)
    note("counting round trips")
    counts = counting.count(servers)
    parts = [table.comparison(rounds), table.processor_time(rounds), table.counted(counts)]
    if rows:
        note("asking for statistics")
        parts.append(depth.measure(servers, rows))
    if finished:
        note("draining beside history")
        parts.append(history.measure(servers, finished, load))
    body = [line for part in parts for line in (*part, "")]
    return [*head, *body, HOW.format(rounds=load.rounds, jobs=f"{load.jobs:,}")]


def measured(servers: Stand, load: Load) -> Rounds:
    """All rounds; who goes first changes, so that a machine that grows slower favours nobody."""
    rounds = Rounds()
    for number in range(load.rounds):
        for stack in STACKS if number % 2 == 0 else reversed(STACKS):
            note(f"round {number + 1} of {load.rounds}: {stack}")
            rounds.add(stack, visit(servers, servers.place(stack), load))
    return rounds
