-- The state machine of a job. Each query is one transition or one look; lists travel as one JSON parameter, which was
-- measured three times as fast as a pipeline for five hundred rows.
--
--   PENDING --claim--> STARTED --report--> PROCESSING --finish--> SUCCESS | FAILURE | REVOKED
--   STARTED | PROCESSING --reschedule--> RETRY | PENDING --claim--> …
--   PENDING | RETRY --seize, finish--> REVOKED   FAILURE | REVOKED --run_again--> PENDING
--
-- Rows are found by primary key, which also orders the locks: with STARTED and PROCESSING in the same condition the
-- planner would rather scan the partial index, which an old snapshot elsewhere can fill with dead entries. Lists travel
-- as JSON so that the estimates do not depend on their length, and the prepared plan is kept.
--
-- Whatever ends a job announces it in the same commit if somebody waits; an enqueue never notifies, for NOTIFY makes
-- commits wait for each other.

-- name: enqueue
-- (nothing) -> PENDING. The same id with the same content is the same job, so a caller that lost our answer may ask
-- again; with other content the row is not returned and the caller gets DuplicateJob. A held row gets its turn.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
        id text, task text, queue text, priority smallint, held boolean, args text, kwargs text, canvas text,
        headers text, run_at timestamptz, expires_at timestamptz, retries integer, max_retries integer,
        max_crashes integer, send boolean, root_id text, parent_id text, group_id text, operation text, cause text,
        via text)),
noted AS (
    INSERT INTO trilho.timeline (operation, kind, id, cause, via, name)
    SELECT operation, 'job', id, cause, via, left(task, 255) FROM r WHERE operation IS NOT NULL)
INSERT INTO trilho.jobs AS j (
    id, task, queue, priority, held, args, kwargs, canvas, headers, run_at, expires_at, retries, max_retries,
    max_crashes, sent_at, sends, root_id, parent_id, group_id)
SELECT id, task, queue, priority, held, args, kwargs, canvas, headers, coalesce(run_at, clock_timestamp()), expires_at,
       retries, max_retries, max_crashes, CASE WHEN send THEN clock_timestamp() END, send::int,
       root_id, parent_id, group_id
FROM r
ON CONFLICT (id) DO UPDATE SET
    held       = j.held AND excluded.held,
    args       = CASE WHEN j.held AND NOT excluded.held THEN excluded.args ELSE j.args END,
    kwargs     = CASE WHEN j.held AND NOT excluded.held THEN excluded.kwargs ELSE j.kwargs END,
    canvas     = CASE WHEN j.held AND NOT excluded.held THEN excluded.canvas ELSE j.canvas END,
    headers    = CASE WHEN j.held AND NOT excluded.held THEN excluded.headers ELSE j.headers END,
    queue      = CASE WHEN j.held AND NOT excluded.held THEN excluded.queue ELSE j.queue END,
    priority   = CASE WHEN j.held AND NOT excluded.held THEN excluded.priority ELSE j.priority END,
    run_at     = CASE WHEN j.held AND NOT excluded.held THEN excluded.run_at ELSE j.run_at END,
    expires_at = CASE WHEN j.held AND NOT excluded.held THEN excluded.expires_at ELSE j.expires_at END,
    sent_at    = CASE WHEN j.held AND NOT excluded.held THEN excluded.sent_at ELSE j.sent_at END,
    parent_id  = CASE WHEN j.held AND NOT excluded.held THEN excluded.parent_id ELSE j.parent_id END,
    group_id   = CASE WHEN j.held AND NOT excluded.held THEN excluded.group_id ELSE j.group_id END,
    max_retries = CASE WHEN j.held AND NOT excluded.held THEN excluded.max_retries ELSE j.max_retries END,
    max_crashes = CASE WHEN j.held AND NOT excluded.held THEN excluded.max_crashes ELSE j.max_crashes END
WHERE j.held OR excluded.held
   OR (j.task = excluded.task AND j.args = excluded.args AND j.kwargs = excluded.kwargs)
RETURNING id;

-- name: enqueue_one
-- (nothing) -> PENDING for one job that begins an operation, for two thirds of the price. Nothing is returned if the id
-- is taken: then `enqueue` has to tell what by.
INSERT INTO trilho.jobs (
    id, task, queue, priority, args, kwargs, canvas, headers, run_at, expires_at, retries, max_retries, max_crashes,
    sent_at, sends, root_id, parent_id, group_id)
VALUES (
    %(id)s, %(task)s, %(queue)s, %(priority)s, %(args)s, %(kwargs)s, %(canvas)s, %(headers)s,
    coalesce(%(run_at)s, clock_timestamp()), %(expires_at)s, %(retries)s, %(max_retries)s, %(max_crashes)s,
    CASE WHEN %(send)s THEN clock_timestamp() END, CAST(%(send)s AS int), %(root_id)s, %(parent_id)s, %(group_id)s)
ON CONFLICT (id) DO NOTHING RETURNING id;

-- name: claim
-- PENDING | RETRY -> STARTED with a fresh token, if it is due. A claim whose answer got lost finds its own token and
-- gets the same rows again, without another attempt being counted; a job whose time to live is over begins none.
-- The commit is not waited for: a claim that a crash of the server takes back leaves a waiting row, and the finish of
-- its attempt finds no token. What has ended a process, or may have, is claimed alone, by claim_one.
UPDATE trilho.jobs SET
    state        = 'STARTED',
    attempt      = attempt + CASE WHEN state = 'STARTED' OR expires_at <= clock_timestamp() THEN 0 ELSE 1 END,
    claim_token  = %(token)s, worker = %(worker)s, worker_name = %(worker_name)s,
    started_at   = CASE WHEN expires_at <= clock_timestamp() THEN started_at ELSE clock_timestamp() END,
    progress     = NULL, custom_state = NULL, error = NULL, traceback = NULL, suspect = true
WHERE id = ANY(ARRAY(SELECT json_array_elements_text(CAST(%(ids)s AS json)))) AND NOT held
  AND (state IN ('PENDING', 'RETRY') AND run_at <= clock_timestamp() AND NOT suspect AND crash_count = 0
       OR state = 'STARTED' AND claim_token = %(token)s)
  AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING id, task, queue, state, priority, args, kwargs, canvas, headers, attempt, retries, crash_count, max_crashes,
    claim_token, expires_at, root_id, parent_id, group_id, sent_at, sends,
    CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
         WHEN expires_at <= clock_timestamp() THEN 'expired before it was started' END AS ending, suspect;

-- name: claim_one
-- As claim, for one job that is to have the claim for itself. Statements for one job are half as dear as those for a
-- list, and PostgreSQL plans them well even while it knows nothing about the table.
UPDATE trilho.jobs SET
    state        = 'STARTED',
    attempt      = attempt + CASE WHEN state = 'STARTED' OR expires_at <= clock_timestamp() THEN 0 ELSE 1 END,
    claim_token  = %(token)s, worker = %(worker)s, worker_name = %(worker_name)s,
    started_at   = CASE WHEN expires_at <= clock_timestamp() THEN started_at ELSE clock_timestamp() END,
    progress     = NULL, custom_state = NULL, error = NULL, traceback = NULL, suspect = false
WHERE id = %(id)s AND NOT held
  AND (state IN ('PENDING', 'RETRY') AND run_at <= clock_timestamp() OR state = 'STARTED' AND claim_token = %(token)s)
  AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING id, task, queue, state, priority, args, kwargs, canvas, headers, attempt, retries, crash_count, max_crashes,
    claim_token, expires_at, root_id, parent_id, group_id, sent_at, sends,
    CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
         WHEN expires_at <= clock_timestamp() THEN 'expired before it was started' END AS ending, suspect;

-- name: unclaim
-- STARTED -> PENDING for jobs of a claim whose turn did not come: as if it had left them alone. Their wake-ups are still
-- good. One that somebody has cancelled meanwhile stays, to be ended; for one that had expired, no attempt was counted.
UPDATE trilho.jobs SET
    state = 'PENDING', attempt = attempt - CASE WHEN expires_at <= clock_timestamp() THEN 0 ELSE 1 END,
    claim_token = NULL, worker = NULL, started_at = NULL, suspect = false
WHERE id = ANY(ARRAY(SELECT json_array_elements_text(CAST(%(ids)s AS json)))) AND claim_token = %(token)s
  AND state = 'STARTED' AND cancel_requested_at IS NULL
RETURNING id;

-- name: seize
-- PENDING | RETRY -> STARTED for whoever ends a waiting job in the same transaction (a cancel), whether due or not.
UPDATE trilho.jobs SET state = 'STARTED', held = false, claim_token = %(token)s, worker = %(token)s
WHERE id = %(id)s AND state IN ('PENDING', 'RETRY')
RETURNING id, task, queue, state, priority, args, kwargs, canvas, headers, attempt, retries, crash_count, max_crashes,
    claim_token, expires_at, root_id, parent_id, group_id, sent_at, sends, NULL AS ending, suspect;

-- name: seize_expired
-- As seize, for jobs whose time to live is over. One that is being claimed is left to its worker, which sees it, too.
UPDATE trilho.jobs SET state = 'STARTED', held = false, claim_token = %(token)s, worker = %(token)s
WHERE id = ANY(ARRAY(
    SELECT id FROM trilho.jobs
    WHERE state IN ('PENDING', 'RETRY') AND expires_at IS NOT NULL AND expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING id, task, queue, state, priority, args, kwargs, canvas, headers, attempt, retries, crash_count, max_crashes,
    claim_token, expires_at, root_id, parent_id, group_id, sent_at, sends, NULL AS ending, suspect;

-- name: finish
-- STARTED | PROCESSING -> SUCCESS | FAILURE | REVOKED, only while the claim is ours: a row with our token, an owner and
-- no end is running. Whoever was told that the job is cancelled was told the truth: from then on it can only be REVOKED.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
        id text, token uuid, state text, result text, error text, traceback text, children text, crash boolean,
        presumed boolean, progress text)),
done AS (
    UPDATE trilho.jobs j SET
        state = r.state, result = r.result, error = r.error, traceback = r.traceback, children = r.children,
        progress = coalesce(r.progress, j.progress), finished_at = clock_timestamp(), custom_state = NULL, crash_count = j.crash_count + r.crash::int
    FROM r
    WHERE j.id = ANY(ARRAY(SELECT id FROM r)) AND j.id = r.id
      AND j.claim_token = r.token AND j.worker IS NOT NULL AND j.finished_at IS NULL
      AND (j.cancel_requested_at IS NULL OR r.state = 'REVOKED')
    RETURNING j.id, j.awaited, j.attempt, j.state, j.error, j.traceback, j.worker, j.worker_name, j.started_at,
              r.crash, r.presumed),
remembered AS (
    INSERT INTO trilho.job_attempts (
        job_id, number, outcome, crash, presumed, error, traceback, worker, worker_name, started_at)
    SELECT id, attempt, state, crash, presumed, error, traceback, worker, worker_name, started_at
    FROM done WHERE state <> 'SUCCESS'
    ON CONFLICT DO NOTHING)
SELECT id, CASE WHEN awaited THEN pg_notify('trilho_done', id) END FROM done;

-- name: finish_one
-- As finish, for one job that is a SUCCESS.
UPDATE trilho.jobs SET
    state = 'SUCCESS', result = %(result)s, error = NULL, traceback = NULL, children = %(children)s,
    progress = coalesce(%(progress)s, progress), finished_at = clock_timestamp(), custom_state = NULL
WHERE id = %(id)s AND claim_token = %(token)s AND worker IS NOT NULL AND finished_at IS NULL
  AND cancel_requested_at IS NULL
RETURNING id, CASE WHEN awaited THEN pg_notify('trilho_done', id) END;

-- name: reschedule
-- STARTED | PROCESSING -> RETRY | PENDING, only while the claim is ours. The dispatcher wakes it when it is due.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
        id text, token uuid, outcome text, state text, delay double precision, run_at timestamptz, crash boolean,
        result text, error text, traceback text, task text, queue text, priority smallint, args text, kwargs text,
        canvas text, headers text, retries integer, expires_at timestamptz, replace boolean, held boolean,
        presumed boolean, begun boolean, suspect boolean)),
locked AS MATERIALIZED (
    SELECT id, state, claim_token, worker, cancel_requested_at FROM trilho.jobs
    WHERE id = ANY(ARRAY(SELECT id FROM r)) ORDER BY id FOR UPDATE),
done AS (
    UPDATE trilho.jobs j SET
        state = r.state, result = r.result, error = r.error, traceback = r.traceback,
        run_at = coalesce(r.run_at, clock_timestamp() + r.delay * interval '1 second'),
        crash_count = CASE WHEN r.outcome = 'RETRY' THEN 0 ELSE j.crash_count + r.crash::int END,
        claim_token = CASE WHEN r.outcome = 'LOST' THEN NULL ELSE j.claim_token END,
        attempt = j.attempt - CASE WHEN r.begun OR j.expires_at <= clock_timestamp() THEN 0 ELSE 1 END,
        started_at = CASE WHEN r.begun THEN j.started_at END,
        suspect = r.suspect, held = r.held, worker = NULL, sent_at = NULL, sends = 0, custom_state = NULL,
        task = coalesce(r.task, j.task), queue = coalesce(r.queue, j.queue), priority = coalesce(r.priority, j.priority),
        args = coalesce(r.args, j.args), kwargs = coalesce(r.kwargs, j.kwargs),
        canvas = CASE WHEN r.replace THEN r.canvas ELSE j.canvas END,
        headers = coalesce(r.headers, j.headers), retries = coalesce(r.retries, j.retries),
        expires_at = CASE WHEN r.replace THEN r.expires_at ELSE j.expires_at END
    FROM r, locked
    WHERE j.id = ANY(ARRAY(SELECT id FROM locked)) AND j.id = r.id AND j.id = locked.id
      AND locked.claim_token = r.token AND locked.state IN ('STARTED', 'PROCESSING')
      AND (locked.cancel_requested_at IS NULL OR r.outcome <> 'RETRY')
    RETURNING j.id, j.attempt, r.outcome, r.crash, r.presumed, r.error, r.traceback, locked.worker, j.worker_name,
              j.started_at, r.begun),
remembered AS (
    INSERT INTO trilho.job_attempts (
        job_id, number, outcome, crash, presumed, error, traceback, worker, worker_name, started_at)
    SELECT id, attempt, outcome, crash, presumed, error, traceback, worker, worker_name, started_at FROM done
    WHERE begun
    ON CONFLICT DO NOTHING)
SELECT id FROM done;

-- name: settled
-- Which of these outcomes are in the rows already: a commit's answer can get lost.
SELECT j.id FROM trilho.jobs j
JOIN json_to_recordset(CAST(%(rows)s AS json)) AS r (id text, token uuid, state text)
    ON j.id = r.id AND j.claim_token = r.token AND j.state = r.state;

-- name: store_other
-- The result of an id that is not the running job: a held link that fails with its chain, a chord body without parts.
INSERT INTO trilho.jobs AS j (id, task, queue, state, held, result, error, traceback, finished_at)
SELECT id, coalesce(task, 'unknown'), coalesce(queue, 'unknown'), state, false, result, error, traceback,
       clock_timestamp()
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
    id text, task text, queue text, state text, result text, error text, traceback text)
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, held = false, result = excluded.result, error = excluded.error,
    traceback = excluded.traceback, finished_at = excluded.finished_at
WHERE j.state IN ('PENDING', 'RETRY')
RETURNING id, CASE WHEN awaited THEN pg_notify('trilho_done', id) END;

-- name: report
-- STARTED | PROCESSING -> PROCESSING: progress of a running body. It is for eyes: its commit is not waited for.
UPDATE trilho.jobs SET state = 'PROCESSING', custom_state = %(custom_state)s, progress = %(progress)s
WHERE id = %(id)s AND claim_token = %(token)s AND state IN ('STARTED', 'PROCESSING')
  AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off';

-- name: cancel_running
-- A running body is asked to stop; its worker ends it and writes REVOKED.
UPDATE trilho.jobs SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
WHERE id = %(id)s AND state IN ('STARTED', 'PROCESSING')
RETURNING id;

-- name: run_again
-- FAILURE | REVOKED -> PENDING with a fresh budget of retries and crashes; a process that turns out to have survived
-- takes nothing back from it any more. What belongs to a saga is left to that: it has taken note of the end, and may have
-- undone it. A link or a chord's body that ended before its turn has no arguments yet, and no
-- headers: it gets them from the step before it, which has to run again.
WITH again AS (
    UPDATE trilho.jobs SET
        state = 'PENDING', retries = 0, crash_count = 0, run_at = clock_timestamp(), sent_at = NULL, sends = 0,
        finished_at = NULL,
        expires_at = NULL, result = NULL, error = NULL, traceback = NULL, progress = NULL, children = NULL,
        cancel_requested_at = NULL, claim_token = NULL, worker = NULL, suspect = false
    WHERE id = %(id)s AND state IN ('FAILURE', 'REVOKED') AND task <> 'unknown' AND headers <> '{}'
      AND headers NOT LIKE '%%"trilho_saga"%%'
    RETURNING id, canvas),
certain AS (
    UPDATE trilho.job_attempts a SET presumed = false FROM again WHERE a.job_id = again.id AND a.presumed)
SELECT id, canvas FROM again;

-- name: hold_again
-- FAILURE | REVOKED -> PENDING and held: later links that ended only because a step before them did, which runs again.
UPDATE trilho.jobs SET
    state = 'PENDING', held = true, finished_at = NULL, result = NULL, error = NULL, traceback = NULL
WHERE id IN (
    SELECT j.id FROM trilho.jobs j
    WHERE j.id = ANY(%(ids)s) AND j.state IN ('FAILURE', 'REVOKED') AND j.attempt = 0
      AND NOT EXISTS (SELECT 1 FROM trilho.job_attempts a WHERE a.job_id = j.id)
    ORDER BY j.id FOR UPDATE);

-- name: unknown_task
-- A worker without this task got the wake-up: the row waits, with the reason, for one that has it.
UPDATE trilho.jobs SET sent_at = NULL, error = %(reason)s
WHERE id = %(id)s AND state IN ('PENDING', 'RETRY') AND NOT held;

-- name: await
-- Ask for an announcement of the end, and look: who asks too late sees that it is too late. The commit is not waited
-- for, as nothing but a wake-up is lost with it; a claim would have to wait for the row until then. Where `awaited` is
-- false, the row came to its end while this waited for it, and shows what it was before.
WITH asked AS (
    UPDATE trilho.jobs j SET awaited = true
    FROM (SELECT id FROM trilho.jobs
          WHERE id = ANY(%(ids)s) AND NOT awaited AND state NOT IN ('SUCCESS', 'FAILURE', 'REVOKED')
          ORDER BY id FOR UPDATE) open
    WHERE j.id = open.id AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    RETURNING j.id, j.state, j.awaited)
SELECT id, state, awaited FROM asked
UNION ALL SELECT id, state, awaited FROM trilho.jobs WHERE id = ANY(%(ids)s) AND id NOT IN (SELECT id FROM asked);

-- name: await_one
-- As await, for one job that nobody waits for yet and that has not come to its end; nothing is returned for any other.
UPDATE trilho.jobs SET awaited = true
WHERE id = %(id)s AND NOT awaited AND finished_at IS NULL AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING id;

-- name: states
SELECT id, state FROM trilho.jobs WHERE id = ANY(%(ids)s);

-- name: exists
SELECT 1 FROM trilho.jobs WHERE id = %(id)s;

-- name: meta
-- What Celery's AsyncResult shows.
SELECT id, coalesce(custom_state, state) AS state, result, progress, error, traceback, children, task, queue, args,
       kwargs, retries, worker_name, finished_at, parent_id, group_id
FROM trilho.jobs WHERE id = ANY(%(ids)s);

-- name: meta_one
SELECT id, coalesce(custom_state, state) AS state, result, progress, error, traceback, children, task, queue, args,
       kwargs, retries, worker_name, finished_at, parent_id, group_id
FROM trilho.jobs WHERE id = %(id)s;

-- name: forget
WITH gone AS (
    DELETE FROM trilho.jobs WHERE id = %(id)s AND state IN ('SUCCESS', 'FAILURE', 'REVOKED') RETURNING id),
attempts AS (DELETE FROM trilho.job_attempts a USING gone WHERE a.job_id = gone.id),
keys AS (DELETE FROM trilho.job_keys k USING gone WHERE k.job_id = gone.id)
SELECT id FROM gone;

-- name: view
SELECT id, task, queue, state, priority, attempt, max_retries + 1 AS max_attempts, retries, crash_count, progress,
       result, error, traceback, worker_name AS worker, created_at, started_at, finished_at,
       CASE WHEN state = 'RETRY' OR state = 'PENDING' AND NOT held AND run_at > clock_timestamp() THEN run_at END
           AS next_run_at,
       expires_at, args, kwargs, root_id, parent_id, group_id
FROM trilho.jobs WHERE id = %(id)s;

-- name: list
SELECT id, task, queue, state, priority, attempt, max_retries + 1 AS max_attempts, retries, crash_count, progress,
       result, error, traceback, worker_name AS worker, created_at, started_at, finished_at,
       CASE WHEN state = 'RETRY' OR state = 'PENDING' AND NOT held AND run_at > clock_timestamp() THEN run_at END
           AS next_run_at,
       expires_at, args, kwargs, root_id, parent_id, group_id
FROM trilho.jobs
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(queue)s::text IS NULL OR queue = %(queue)s)
  AND (%(task)s::text IS NULL OR task = %(task)s)
  AND (%(cursor)s::text IS NULL OR id < %(cursor)s)
ORDER BY id DESC LIMIT %(limit)s;

-- name: changed
-- Of the watched jobs those whose row is not the version that was seen; all columns are NULL where there is no such job.
SELECT w.id AS watched, j.xmin::text AS version,
       j.id, task, queue, state, priority, attempt, max_retries + 1 AS max_attempts, retries, crash_count, progress,
       result, error, traceback, worker_name AS worker, created_at, started_at, finished_at,
       CASE WHEN state = 'RETRY' OR state = 'PENDING' AND NOT held AND run_at > clock_timestamp() THEN run_at END
           AS next_run_at,
       expires_at, args, kwargs, root_id, parent_id, group_id
FROM unnest(%(ids)s::text[], %(seen)s::text[]) AS w (id, seen) LEFT JOIN trilho.jobs j ON j.id = w.id
WHERE j.xmin::text IS DISTINCT FROM w.seen;

-- name: announce
-- Ask for an announcement of these ends. Rows that somebody holds are left out: who watches looks by himself as well.
UPDATE trilho.jobs j SET awaited = true
FROM (SELECT id FROM trilho.jobs
      WHERE id = ANY(%(ids)s) AND NOT awaited AND state NOT IN ('SUCCESS', 'FAILURE', 'REVOKED')
      ORDER BY id FOR UPDATE SKIP LOCKED) open
WHERE j.id = open.id;

-- name: attempts
-- A job that ended before its first attempt has a row with the number 0, which says that it ended for itself.
SELECT number, outcome AS state, error, traceback, worker_name AS worker, started_at, finished_at
FROM trilho.job_attempts WHERE job_id = %(id)s AND number > 0 ORDER BY number;

-- name: lock_running
-- The running jobs of these processes, locked in order; rows that somebody else settles just now are left to them.
SELECT id, task, queue, state, priority, args, kwargs, canvas, headers, attempt, retries, crash_count, max_crashes,
    claim_token, expires_at, root_id, parent_id, group_id, sent_at, sends,
    CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled while it ran' END AS ending, suspect
FROM trilho.jobs
WHERE worker = ANY(%(workers)s) AND state IN ('STARTED', 'PROCESSING')
ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED;

-- name: lock_claimed
-- The jobs that are still held by this claim, locked in order.
SELECT id, task, queue, state, priority, args, kwargs, canvas, headers, attempt, retries, crash_count, max_crashes,
    claim_token, expires_at, root_id, parent_id, group_id, sent_at, sends,
    CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled while it ran' END AS ending, suspect
FROM trilho.jobs
WHERE id = ANY(%(ids)s) AND claim_token = %(token)s AND state IN ('STARTED', 'PROCESSING')
ORDER BY id FOR UPDATE;

-- name: end_backends
-- A lease cannot break a row lock: end the transactions of these claims before their work is handed over.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = ANY(%(names)s) AND pid <> pg_backend_pid();

-- name: save_group
INSERT INTO trilho.job_groups (id, result) VALUES (%(id)s, %(result)s)
ON CONFLICT (id) DO UPDATE SET result = excluded.result;

-- name: restore_group
SELECT result FROM trilho.job_groups WHERE id = %(id)s;

-- name: delete_group
DELETE FROM trilho.job_groups WHERE id = %(id)s;

-- name: open_chord
-- Parts may come back before the size is known, so both sides create the row.
INSERT INTO trilho.chords AS c (id, size, body, body_id)
SELECT id, size, body, body_id
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (id text, size integer, body text, body_id text)
ON CONFLICT (id) DO UPDATE SET size = coalesce(excluded.size, c.size), body = coalesce(excluded.body, c.body),
                               body_id = coalesce(excluded.body_id, c.body_id)
RETURNING id;

-- name: grow_chord
UPDATE trilho.chords SET size = coalesce(size, 0) + 1 WHERE id = %(id)s;

-- name: return_part
-- Counts each member once, in the commit of its finish; tells whether it was the last.
WITH part AS (
    INSERT INTO trilho.chord_parts (chord_id, job_id, position, state, result)
    VALUES (%(chord)s, %(job)s, %(position)s, %(state)s, %(result)s)
    ON CONFLICT DO NOTHING RETURNING 1)
INSERT INTO trilho.chords AS c (id, returned) SELECT %(chord)s, count(*) FROM part
ON CONFLICT (id) DO UPDATE SET returned = c.returned + excluded.returned
RETURNING c.returned = c.size AND EXISTS (SELECT 1 FROM part) AS complete, c.body;

-- name: chord_parts
SELECT state, result FROM trilho.chord_parts WHERE chord_id = %(chord)s ORDER BY position NULLS LAST, job_id;

-- name: resend
-- Wake-ups that were taken for these jobs came to nothing: the dispatcher hands them out again.
UPDATE trilho.jobs SET sent_at = NULL
WHERE id IN (SELECT id FROM trilho.jobs
             WHERE id = ANY(%(ids)s) AND state IN ('PENDING', 'RETRY') AND NOT held ORDER BY id FOR UPDATE);

-- name: pass_on
-- As resend, for wake-ups that a worker cannot use now: they do not count as sent.
UPDATE trilho.jobs SET sent_at = NULL, sends = greatest(sends - 1, 0)
WHERE id IN (SELECT id FROM trilho.jobs
             WHERE id = ANY(%(ids)s) AND state IN ('PENDING', 'RETRY') AND NOT held ORDER BY id FOR UPDATE);

-- name: cancel_requests
-- The running bodies of this worker that somebody wants to end.
SELECT id FROM trilho.jobs
WHERE worker = %(worker)s AND state IN ('STARTED', 'PROCESSING') AND cancel_requested_at IS NOT NULL;

-- name: take_due
-- Due jobs without a wake-up: scheduled, retried, recovered, lost on the way. Whoever takes them hands them over.
WITH due AS (
    SELECT id FROM (
        SELECT j.id, j.run_at FROM unnest(%(queues)s::text[]) AS q (queue), unnest(%(tasks)s::text[]) AS t (task)
        CROSS JOIN LATERAL (
            SELECT id, run_at FROM trilho.jobs j
            WHERE j.queue = q.queue AND j.task = t.task AND j.state IN ('PENDING', 'RETRY') AND NOT j.held
              AND j.sent_at IS NULL
              AND j.run_at <= clock_timestamp() - %(overdue)s * interval '1 second'
              AND j.run_at >= %(floor)s
            ORDER BY j.run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) j
    ) candidates ORDER BY run_at LIMIT %(limit)s)
UPDATE trilho.jobs j SET sent_at = clock_timestamp(), sends = j.sends + 1
FROM due WHERE j.id = due.id
RETURNING j.id, j.task, j.queue, j.priority, j.headers, j.retries, j.root_id, j.parent_id, j.group_id, j.run_at,
    j.suspect OR j.crash_count > 0 AS alone;

-- name: old_sent
-- Queues with wake-ups that have been under way for longer than the grace; counts no further than asked. In order, for
-- else the planner reads the table in the hope of a few rows early on.
SELECT q.queue, (SELECT count(*) FROM (
    SELECT 1 FROM trilho.jobs j
    WHERE j.queue = q.queue AND j.state IN ('PENDING', 'RETRY') AND NOT j.held AND j.sent_at IS NOT NULL
      AND j.sent_at < clock_timestamp() - %(grace)s * interval '1 second'
    ORDER BY j.sent_at LIMIT %(limit)s) old) AS old
FROM (SELECT DISTINCT unnest(queues) AS queue FROM trilho.processes WHERE state IN ('running', 'stopping')
      UNION SELECT DISTINCT queue FROM trilho.samples WHERE at > clock_timestamp() - interval '1 minute') q;

-- name: lose_all
-- The broker holds (almost) nothing for this queue while these rows wait: their wake-ups are gone. The pause doubles
-- with each send, so that rows which wait in some worker's memory are not sent for ever.
UPDATE trilho.jobs SET sent_at = NULL WHERE id = ANY(ARRAY(
    SELECT id FROM trilho.jobs j
    WHERE j.queue = %(queue)s AND j.state IN ('PENDING', 'RETRY') AND NOT j.held AND j.sent_at IS NOT NULL
      AND j.sent_at < clock_timestamp() - %(grace)s * power(2, least(greatest(j.sends - 1, 0), 6)) * interval '1 second'
    ORDER BY j.sent_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED));

-- name: lose_overtaken
-- Wake-ups that were sent later to the same queue and priority were received more than a grace ago.
UPDATE trilho.jobs SET sent_at = NULL WHERE id = ANY(ARRAY(
    SELECT j.id FROM trilho.queue_marks m CROSS JOIN LATERAL (
        SELECT id FROM trilho.jobs j
        WHERE j.queue = m.queue AND j.priority = m.priority AND j.state IN ('PENDING', 'RETRY') AND NOT j.held
          AND j.sent_at IS NOT NULL AND j.sent_at < m.settled
          AND j.sent_at < clock_timestamp()
              - %(grace)s * power(2, least(greatest(j.sends - 1, 0), 6)) * interval '1 second'
        ORDER BY j.sent_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) j));

-- name: settle_marks
INSERT INTO trilho.queue_marks AS m (queue, priority, settled)
SELECT queue, priority, settled
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (queue text, priority smallint, settled timestamptz)
ORDER BY queue, priority
ON CONFLICT (queue, priority) DO UPDATE SET settled = greatest(m.settled, excluded.settled)
WHERE m.settled < excluded.settled;

-- name: adopt
-- A plain Celery message brings its own content: its row is made, unless it has one.
INSERT INTO trilho.jobs (
    id, task, queue, priority, args, kwargs, canvas, headers, run_at, expires_at, retries, max_retries, max_crashes,
    sent_at, sends, root_id, parent_id, group_id)
SELECT id, task, queue, priority, args, kwargs, canvas, headers, coalesce(run_at, clock_timestamp()), expires_at,
       retries, max_retries, max_crashes, CASE WHEN run_at IS NULL THEN clock_timestamp() END, 1,
       root_id, parent_id, group_id
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
    id text, task text, queue text, priority smallint, args text, kwargs text, canvas text, headers text,
    run_at timestamptz, expires_at timestamptz, retries integer, max_retries integer, max_crashes integer,
    root_id text, parent_id text, group_id text)
ON CONFLICT (id) DO NOTHING;

-- name: running_tokens
SELECT claim_token FROM trilho.jobs
WHERE worker = ANY(%(workers)s) AND state IN ('STARTED', 'PROCESSING');

-- name: strays
-- Running jobs of a live worker under claims that it does not know any more.
SELECT id, claim_token FROM trilho.jobs
WHERE worker = %(worker)s AND state IN ('STARTED', 'PROCESSING') AND NOT claim_token = ANY(%(known)s)
  AND started_at < clock_timestamp() - interval '2 seconds'
LIMIT 100;
