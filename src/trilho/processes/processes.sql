-- Leases of live processes. One row, one small statement per renewal, no lock that a body could hold.

-- name: register
INSERT INTO trilho.processes (
    incarnation, kind, name, hostname, pid, pool, concurrency, queues, tasks, version, lease)
VALUES (%(incarnation)s, %(kind)s, %(name)s, %(hostname)s, %(pid)s, %(pool)s, %(concurrency)s, %(queues)s, %(tasks)s,
    %(version)s, %(lease)s * interval '1 second')
ON CONFLICT (incarnation) DO NOTHING;

-- name: renew
-- No row comes back once somebody has declared this incarnation lost: it has to begin anew.
UPDATE trilho.processes SET
    seen_at = clock_timestamp(), state = %(state)s, running = %(running)s, processed = %(processed)s,
    dropped = %(dropped)s, finished = CAST(%(finished)s AS jsonb), queues = %(queues)s,
    last_progress = to_timestamp(%(last_progress)s)
WHERE incarnation = %(incarnation)s AND state IN ('running', 'stopping')
RETURNING incarnation;

-- name: leave
UPDATE trilho.processes SET state = 'stopped', running = 0, seen_at = clock_timestamp()
WHERE incarnation = %(incarnation)s;

-- name: note_epoch
-- A restart or a promotion of the server begins a new epoch; WAL file names begin with the timeline.
INSERT INTO trilho.server_epoch AS e (epoch)
SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) || ' ' || extract(epoch FROM pg_postmaster_start_time())
ON CONFLICT (singleton) DO UPDATE SET epoch = excluded.epoch, since = clock_timestamp()
WHERE e.epoch <> excluded.epoch;

-- name: declare_lost
-- running | stopping -> lost. Not before one lease after the server came up: nobody could renew while it was away.
UPDATE trilho.processes SET state = 'lost', running = 0
WHERE incarnation IN (
    SELECT p.incarnation FROM trilho.processes p, trilho.server_epoch e
    WHERE p.state IN ('running', 'stopping') AND p.seen_at + p.lease < clock_timestamp()
      AND e.since + p.lease < clock_timestamp()
    ORDER BY p.incarnation FOR UPDATE OF p SKIP LOCKED)
RETURNING incarnation, name;

-- name: dead_with_jobs
-- Incarnations that own running jobs without being alive; a missing row counts as dead.
SELECT DISTINCT j.worker FROM trilho.jobs j, trilho.server_epoch e
WHERE j.state IN ('STARTED', 'PROCESSING') AND e.since + %(lease)s * interval '1 second' < clock_timestamp()
  AND NOT EXISTS (
    SELECT 1 FROM trilho.processes p WHERE p.incarnation = j.worker AND p.state IN ('running', 'stopping'));

-- name: absolve
-- The process outlived its lease: the crashes that were presumed from the expiry did not happen. A retry has set the
-- count back: what came before it is in the count no more.
WITH survived AS (
    UPDATE trilho.job_attempts SET crash = false
    WHERE worker = %(incarnation)s AND crash AND presumed RETURNING job_id, number)
UPDATE trilho.jobs SET crash_count = greatest(0, crash_count - 1)
WHERE id IN (
    SELECT id FROM trilho.jobs
    WHERE id IN (
        SELECT job_id FROM survived WHERE NOT EXISTS (
            SELECT 1 FROM trilho.job_attempts later
            WHERE later.job_id = survived.job_id AND later.number > survived.number AND later.outcome = 'RETRY'))
    ORDER BY id FOR UPDATE);

-- name: take_duty
-- One owner at a time, for %(seconds)s; the owner may renew.
INSERT INTO trilho.duties AS d (name, owner, until)
VALUES (%(name)s, %(owner)s, clock_timestamp() + %(seconds)s * interval '1 second')
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE d.owner = excluded.owner OR d.until < clock_timestamp()
RETURNING name;

-- name: give_up_duties
DELETE FROM trilho.duties WHERE owner = %(owner)s;

-- name: forget
-- Rows of processes that ended, kept for a day; never one that still owns running jobs.
DELETE FROM trilho.processes p
WHERE p.state IN ('stopped', 'lost') AND p.seen_at < clock_timestamp() - interval '1 day'
  AND NOT EXISTS (SELECT 1 FROM trilho.jobs j WHERE j.worker = p.incarnation AND j.state IN ('STARTED', 'PROCESSING'));

-- name: known_tasks
SELECT coalesce(array_agg(DISTINCT task), '{}') FROM trilho.processes, unnest(tasks) AS task
WHERE state IN ('running', 'stopping') AND seen_at + lease > clock_timestamp();

-- name: known_queues
SELECT coalesce(array_agg(DISTINCT queue), '{}') FROM trilho.processes, unnest(queues) AS queue
WHERE state IN ('running', 'stopping') AND seen_at + lease > clock_timestamp();
