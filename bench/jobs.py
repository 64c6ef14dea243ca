"""The rounds of the jobs, and their tables: Trilho beside stock Celery."""

from bench import age, counting, depth, machine, peers, rival, scale, table, upkeep
from bench.apps import STACKS
from bench.figures import Rounds, in_turns
from bench.notes import note
from bench.peers import NoPeers
from bench.stand import Stand, stand
from bench.visit import Load, visit

HOW = """\
Both stacks use the same PostgreSQL and Valkey and the same command line: one worker, prefork, two processes, log level
WARNING, every setting at its default; results are kept. The job does nothing and has 109 bytes of arguments. A round
visits both stacks, in changing order, each on empty queues and tables; cells are medians of {rounds} rounds of {jobs}
jobs (five times as many to drain) with least and greatest, the ratio is the median of the rounds' ratios.

- Enqueue is measured without a worker, and to the end: until the last wake-up has left the process. Inside a
  transaction that saves a row, what the same transaction costs without a job is taken off. Celery has no such thing:
  it commits, then sends. Its `enqueue_many` is `apply_async` with one producer for all.
- Drain: a warm worker is held (`cancel_consumer`) until the backlog is complete, then let go; from the end of the first
  job to the end of the last, by the times that each stack writes into its results.
- CPU time is that of our own processes; PostgreSQL's includes its background work.
- Round trips and commits are counted in a pass of their own, by proxies between client and server: a client that speaks
  after the server spoke is one. Writing commits are transaction ids given out. An idle worker's are taken off."""


HOW_AGED = """\
Each condition has a database of its own, all drain {jobs:,} jobs in turns; medians of {rounds} rounds, the ratio is the
median of the rounds' ratios to an empty table."""

HOW_SCALE = """\
Drains of {jobs:,} jobs that do nothing, medians of {rounds} rounds; everything shares the cores named above, so that
more processes than cores can only show what they cost. Idle: {idle:g} s without a job, each stack's worker with two
processes. Memory: resident, of one worker with two processes, shared pages counted in each."""


def report(load: Load, rows: int) -> list[str]:
    """Every table, with what one has to know to read it."""
    missing = _missing(load)
    with stand() as servers:
        return _report(servers, load, rows, missing)


def _missing(load: Load) -> str | None:
    """Why there is no PgQueuer."""
    if load.rounds == 1:
        return "One round, which is to show that it works: without PgQueuer"
    try:
        peers.python()
    except NoPeers as error:
        return f"Without PgQueuer, which cannot be installed here: {error}"
    return None


def report_aged(load: Load, finished: int) -> list[str]:
    """What history, a deep queue and idle sessions do to a drain."""
    with stand() as servers:
        head = ["# Jobs under age", "", *machine.describe(servers), ""]
        lines = age.measure(servers, finished, load)
    return [*head, *lines, "", HOW_AGED.format(jobs=load.backlog, rounds=load.rounds)]


def report_scale(load: Load) -> list[str]:
    """What more workers bring, and what one takes."""
    with stand() as servers:
        head = ["# More workers, and idle ones", "", *machine.describe(servers), ""]
        lines = [*scale.measure(servers, load), "", *upkeep.measure(servers, 100 * load.jobs)]
    return [*head, *lines, "", HOW_SCALE.format(jobs=load.backlog, rounds=load.rounds, idle=upkeep.IDLE)]


def _report(servers: Stand, load: Load, rows: int, missing: str | None) -> list[str]:
    head = ["# Trilho beside Celery", "", *machine.describe(servers), *([missing] if missing else []), ""]
    rounds = measured(servers, load, rival_too=not missing)
    note("counting round trips")
    counts = counting.count(servers)
    parts = [table.comparison(rounds), *([] if missing else [rival.table(rounds)])]
    parts += [table.processor_time(rounds), table.counted(counts)]
    if rows:
        note("asking for statistics")
        parts.append(depth.measure(servers, rows))
    body = [line for part in parts for line in (*part, "")]
    how = HOW.format(rounds=load.rounds, jobs=f"{load.jobs:,}")
    return [*head, *body, how, *([] if missing else [rival.how(load)])]


def measured(servers: Stand, load: Load, *, rival_too: bool) -> Rounds:
    """All rounds."""
    rounds = Rounds()
    for number, stack in in_turns(STACKS, load.rounds):
        note(f"round {number} of {load.rounds}: {stack}")
        rounds.add(stack, visit(servers, servers.place(stack), load))
        if rival_too and stack == "trilho":
            rival.visit(servers, load, rounds)
    return rounds
