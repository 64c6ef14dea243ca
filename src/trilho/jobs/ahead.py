"""Wake-ups that travel while their rows are being committed: what a caller and a worker have agreed on.

A caller whose commit takes longer than QUICK sends another wake-up after it. So a worker that has looked for a row for
PATIENCE without finding it may forget the wake-up, if it does not overlook the other one meanwhile.
"""

import time
from collections.abc import Sequence

from trilho.db.pool import Connection
from trilho.jobs import store
from trilho.jobs.job import Claimed
from trilho.jobs.store import Claimant

QUICK = 0.002
"""Seconds: where the last commit took no longer, the next wake-up does not wait for its own."""

PATIENCE = 2 * QUICK
LOOK = 0.0005


def claim(connection: Connection, ids: Sequence[str], claimant: Claimant) -> list[Claimed]:
    """Claim those that wait, with those whose rows appear in a moment."""
    alone = len(ids) == 1
    claimed = store.claim(connection, ids, claimant, alone)
    until = time.monotonic() + PATIENCE
    while missing := sorted(set(ids).difference(job.id for job in claimed)):
        last = time.monotonic() >= until  # however long this process stood still meanwhile
        early = store.unknown(connection, missing)  # before the claim: it gets what appears between the two
        more = store.claim(connection, missing, claimant, alone)
        claimed += more
        if last or not early.difference(job.id for job in more):
            break
        time.sleep(LOOK)
    return claimed
