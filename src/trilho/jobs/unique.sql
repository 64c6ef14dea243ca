-- Unique jobs: what decides about keys stands as functions beside the table, in the first migration.

-- name: enqueue
-- (nothing) -> PENDING, for the jobs that take their key; held where an open transaction decides about the same key. Of
-- each call the job that it gets; a call whose id belongs to another job is not returned.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
        id text, task text, queue text, priority smallint, args text, kwargs text, headers text, run_at timestamptz,
        expires_at timestamptz, retries integer, max_retries integer, max_crashes integer, send boolean, root_id text,
        parent_id text, operation text, cause text, via text)),
taken AS MATERIALIZED (SELECT asked, given, contending FROM trilho.take_keys(CAST(%(rows)s AS json))),
written AS (
    INSERT INTO trilho.jobs AS j (
        id, task, queue, priority, held, args, kwargs, headers, run_at, expires_at, retries, max_retries, max_crashes,
        sent_at, sends, root_id, parent_id)
    SELECT id, task, queue, priority, contending, args, kwargs, headers, coalesce(run_at, clock_timestamp()),
           expires_at, retries, max_retries, max_crashes,
           CASE WHEN send AND NOT contending THEN clock_timestamp() END, (send AND NOT contending)::int,
           root_id, parent_id
    FROM r JOIN taken ON asked = id WHERE given = asked ORDER BY id
    ON CONFLICT (id) DO UPDATE SET task = j.task
    WHERE j.task = excluded.task AND j.args = excluded.args AND j.kwargs = excluded.kwargs
    RETURNING id),
noted AS (
    INSERT INTO trilho.timeline (operation, kind, id, cause, via, name)
    SELECT operation, 'job', id, cause, via, left(task, 255) FROM r JOIN written USING (id) WHERE operation IS NOT NULL)
SELECT asked, given, contending FROM taken WHERE given <> asked OR asked IN (SELECT id FROM written);

-- name: take_key_again
SELECT trilho.take_key_again(%(id)s);

-- name: decide
SELECT wanted, contender, decided, duplicate_of FROM trilho.decide(%(key)s, %(id)s, %(limit)s);
