-- The state machine of a saga's run. Each query is one transition or one look.
--
--   start -> RUNNING --suspend--> WAITING --wake--> RUNNING --complete--> COMPLETED
--   RUNNING --condemn--> COMPENSATING --undone--> COMPENSATED        COMPLETED --call_off--> COMPENSATING
--   RUNNING | COMPENSATING --get_stuck--> STUCK --retry--> RUNNING | COMPENSATING
--
-- A stretch writes under the claim of its job: the fence locks that job's row for as long as the write takes, so that
-- whoever takes the job over waits for the write or finds nothing of it. Locks are taken in the order: job, lane of
-- events, run; whoever holds a run locks no job that exists already.

-- name: start
-- (nothing) -> RUNNING with its first stretch. The same id with the same arguments is the same run, also for a caller that
-- lost our answer; with other arguments the row is not returned and the caller gets DuplicateSaga. So does a saga that
-- calls a run which is not its own: it would never hear of its end, and would undo what others rely on.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
        id text, name text, version integer, queue text, args text, stretch text, headers text,
        timeout double precision, topics text[], listens_from timestamptz, parent_id text, parent_path text,
        correlation_id text, awaited boolean, send boolean, cause text, via text)),
begun AS (
    INSERT INTO trilho.sagas AS s (
        id, name, version, queue, args, stretch, deadline, topics, listens_from, parent_id, parent_path, correlation_id,
        awaited)
    SELECT id, name, version, queue, args, stretch, clock_timestamp() + timeout * interval '1 second',
           coalesce(topics, '{}'), listens_from, parent_id, parent_path, correlation_id, awaited FROM r ORDER BY id
    ON CONFLICT (id) DO UPDATE SET name = s.name
        WHERE s.name = excluded.name AND s.args = excluded.args
          AND (excluded.parent_id IS NULL
               OR (s.parent_id, s.parent_path) IS NOT DISTINCT FROM (excluded.parent_id, excluded.parent_path))
    RETURNING s.id, s.stretch),
enqueued AS (
    INSERT INTO trilho.jobs (id, task, queue, args, headers, sent_at, sends, max_retries, root_id, parent_id)
    SELECT r.stretch, 'trilho.saga.' || r.name, r.queue, json_build_array(r.id)::text, r.headers,
           CASE WHEN r.send THEN clock_timestamp() END, r.send::int, 0, r.correlation_id, r.id
    FROM r JOIN begun ON begun.id = r.id AND begun.stretch = r.stretch
    ON CONFLICT (id) DO NOTHING),
noted AS (
    INSERT INTO trilho.timeline (operation, kind, id, cause, via, name)
    SELECT left(correlation_id, 255), 'saga', r.id, cause, via, name FROM r JOIN begun USING (id, stretch))
SELECT id FROM begun;

-- name: load
-- The runs whose stretches these jobs are.
SELECT stretch AS job, id, name, version, state, args, verdict, error, wakes, deadline, cancel_requested_at, listens_from,
       correlation_id, parent_id IS NOT NULL AS called, EXISTS (SELECT FROM trilho.saga_steps WHERE saga_id = s.id) AS recorded,
       EXISTS (SELECT FROM trilho.saga_mail WHERE saga_id = s.id) AS has_mail, clock_timestamp() AS now
FROM trilho.sagas s
WHERE id = ANY(%(ids)s) AND stretch = ANY(%(jobs)s) AND state IN ('RUNNING', 'COMPENSATING');

-- name: entries
SELECT path, kind, name, state, attempt, job_id, child_id, atomic, args, undo, result, error, failure, key, mail, due_at,
       timed_out, started_at, ended_at
FROM trilho.saga_steps WHERE saga_id = %(id)s ORDER BY started_at, path;

-- name: signals
SELECT number, name, data FROM trilho.saga_mail WHERE saga_id = %(id)s ORDER BY number;

-- name: event
-- The first event of a key that this run has not taken yet.
SELECT number, name, data, key FROM trilho.saga_mail
WHERE saga_id IS NULL AND name = %(topic)s AND key = %(key)s AND time >= %(since)s AND NOT number = ANY(%(taken)s)
ORDER BY number LIMIT 1;

-- name: lock_lanes
-- A wait and a delivery of the same key take turns; in order, for each may have several.
SELECT pg_advisory_xact_lock(lane) FROM (
    SELECT DISTINCT hashtextextended(r.topic || ' ' || r.key, 7406) AS lane
    FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (topic text, key text) ORDER BY lane) lanes;

-- name: record
-- Entries as they are now; those that ended meanwhile, by their job or by a person, are not returned. In the commit that
-- ends the stretch's job, its end is the fence. What began has begun before this, whatever a clock elsewhere says.
WITH claims AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(claims)s AS json)) AS c (saga text, job text, token uuid)),
fence AS MATERIALIZED (
    SELECT c.saga FROM claims c, trilho.jobs j
    WHERE j.id = ANY(ARRAY(SELECT job FROM claims)) AND j.id = c.job AND j.claim_token = c.token
      AND (%(ending)s OR j.state IN ('STARTED', 'PROCESSING'))
    ORDER BY j.id FOR SHARE OF j)
INSERT INTO trilho.saga_steps AS t (
    saga_id, path, kind, name, state, attempt, job_id, child_id, atomic, args, undo, result, error, failure, key, mail,
    due_at, timed_out, started_at, ended_at)
SELECT saga, path, kind, name, state, attempt, job_id, child_id, atomic, args, undo, result, error, failure,
       decode(key, 'hex'), mail, due_at, timed_out, least(started_at, clock_timestamp()),
       CASE WHEN state NOT IN ('WAITING', 'RETRY') THEN clock_timestamp() END
FROM fence JOIN json_to_recordset(CAST(%(rows)s AS json)) AS r (
    saga text, path text, kind text, name text, state text, attempt integer, job_id text, child_id text,
    atomic boolean, args text, undo text, result text, error text, failure text, key text, mail bigint,
    due_at timestamptz, timed_out boolean, started_at timestamptz) USING (saga)
ON CONFLICT (saga_id, path) DO UPDATE SET
    state = excluded.state, attempt = excluded.attempt, job_id = excluded.job_id, atomic = excluded.atomic,
    result = excluded.result, error = excluded.error, failure = excluded.failure, mail = excluded.mail,
    due_at = excluded.due_at, timed_out = excluded.timed_out, ended_at = excluded.ended_at
WHERE t.ended_at IS NULL
RETURNING saga_id, (SELECT cancel_requested_at IS NOT NULL FROM trilho.sagas WHERE id = saga_id);

-- name: time_out
-- The time of a task is over: what becomes of its job from now on is a timeout, unless it has ended.
UPDATE trilho.saga_steps SET timed_out = true
WHERE saga_id = %(saga)s AND path = %(path)s AND job_id = %(job)s AND state = 'WAITING';

-- name: progressed
-- The run came further: the crashes so far do not count any more.
UPDATE trilho.jobs SET crash_count = 0 WHERE id = %(job)s AND claim_token = %(token)s;

-- name: condemn
-- RUNNING -> COMPENSATING, for good: whatever the function would do from now on, its steps are undone.
WITH fence AS MATERIALIZED (
    SELECT 1 FROM trilho.jobs
    WHERE id = %(job)s AND claim_token = %(token)s AND state IN ('STARTED', 'PROCESSING') FOR SHARE)
UPDATE trilho.sagas s SET state = 'COMPENSATING', verdict = %(verdict)s, error = %(error)s, failure = %(failure)s
FROM fence WHERE s.id = %(saga)s AND s.stretch = %(job)s AND s.verdict IS NULL
RETURNING s.id;

-- name: suspend
-- RUNNING -> WAITING, unless something came meanwhile: then the next stretch follows at once. In the commit that ends
-- the stretch's job.
WITH suspended AS (
    UPDATE trilho.sagas s SET
        wake_at = CASE WHEN wakes = %(seen)s AND NOT %(again)s THEN %(wake_at)s::timestamptz END,
        stretch = CASE WHEN wakes = %(seen)s AND NOT %(again)s THEN NULL ELSE trilho.new_id() END,
        state = CASE WHEN verdict IS NOT NULL THEN 'COMPENSATING'
                     WHEN wakes = %(seen)s AND NOT %(again)s THEN 'WAITING' ELSE 'RUNNING' END
    WHERE id = %(saga)s AND stretch = %(job)s
    RETURNING *),
enqueued AS (
    SELECT trilho.enqueue_stretch(ROW(s.*)::trilho.sagas) FROM suspended s WHERE s.stretch IS NOT NULL)
SELECT id, name, queue, stretch, correlation_id, (SELECT count(*) FROM enqueued)
FROM suspended WHERE stretch IS NOT NULL;

-- name: complete
-- RUNNING -> COMPLETED, unless somebody was told before that it is cancelled.
UPDATE trilho.sagas SET state = 'COMPLETED', result = %(result)s, stretch = NULL, wake_at = NULL,
                        finished_at = clock_timestamp()
WHERE id = %(saga)s AND stretch = %(job)s AND cancel_requested_at IS NULL
RETURNING id, CASE WHEN awaited THEN pg_notify('trilho_done', 'saga:' || id) END;

-- name: complete_together
-- RUNNING -> COMPLETED for runs of several stretches, and STARTED -> SUCCESS for their jobs, with entries that nobody has
-- seen yet: finish (jobs.sql), record and complete as one commit of one statement. What does not fit is left to these
-- three, and so is a run that somebody has locked, who may take his time: the others need not wait for him.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (job text, token uuid, saga text, result text)),
fence AS MATERIALIZED (
    SELECT j.id AS job, j.awaited AS job_awaited, s.id, s.awaited, r.result
    FROM r, trilho.jobs j, trilho.sagas s
    WHERE j.id = ANY(ARRAY(SELECT job FROM r)) AND j.id = r.job AND j.claim_token = r.token AND j.worker IS NOT NULL
      AND j.finished_at IS NULL AND j.cancel_requested_at IS NULL
      AND s.id = ANY(ARRAY(SELECT saga FROM r)) AND s.id = r.saga AND s.stretch = r.job AND s.cancel_requested_at IS NULL
    FOR NO KEY UPDATE OF j, s SKIP LOCKED),
ended AS (
    UPDATE trilho.sagas s SET state = 'COMPLETED', result = fence.result, stretch = NULL, wake_at = NULL,
                              finished_at = clock_timestamp()
    FROM fence WHERE s.id = ANY(ARRAY(SELECT saga FROM r)) AND s.id = fence.id
    RETURNING s.id, s.awaited, fence.job, fence.job_awaited),
done AS (
    UPDATE trilho.jobs j SET state = 'SUCCESS', result = 'null', finished_at = clock_timestamp(), custom_state = NULL
    FROM ended WHERE j.id = ANY(ARRAY(SELECT job FROM r)) AND j.id = ended.job),
recorded AS (
    INSERT INTO trilho.saga_steps (
        saga_id, path, kind, name, state, attempt, job_id, child_id, atomic, args, undo, result, error, failure, key,
        mail, due_at, timed_out, started_at, ended_at)
    SELECT saga, path, kind, name, state, attempt, job_id, child_id, atomic, args, undo, w.result, error, failure,
           decode(key, 'hex'), mail, due_at, timed_out, least(started_at, clock_timestamp()),
           CASE WHEN state NOT IN ('WAITING', 'RETRY') THEN clock_timestamp() END
    FROM json_to_recordset(CAST(%(steps)s AS json)) AS w (
        saga text, path text, kind text, name text, state text, attempt integer, job_id text, child_id text,
        atomic boolean, args text, undo text, result text, error text, failure text, key text, mail bigint,
        due_at timestamptz, timed_out boolean, started_at timestamptz)
    JOIN ended ON ended.id = w.saga)
SELECT job, CASE WHEN awaited THEN pg_notify('trilho_done', 'saga:' || id) END,
       CASE WHEN job_awaited THEN pg_notify('trilho_done', job) END
FROM ended;

-- name: undone
-- COMPENSATING -> COMPENSATED.
WITH left_over AS (
    UPDATE trilho.saga_steps SET state = 'CANCELLED', ended_at = clock_timestamp()
    WHERE saga_id = %(saga)s AND state IN ('WAITING', 'RETRY'))
UPDATE trilho.sagas SET state = 'COMPENSATED', stretch = NULL, wake_at = NULL, finished_at = clock_timestamp()
WHERE id = %(saga)s AND stretch = %(job)s
RETURNING id, CASE WHEN awaited THEN pg_notify('trilho_done', 'saga:' || id) END;

-- name: get_stuck
-- RUNNING | COMPENSATING -> STUCK.
UPDATE trilho.sagas SET state = 'STUCK', stuck = %(reason)s, stretch = NULL, wake_at = NULL
WHERE id = %(saga)s AND stretch = %(job)s
RETURNING id, CASE WHEN awaited THEN pg_notify('trilho_done', 'saga:' || id) END;

-- name: end_call
SELECT id, name, queue, stretch, correlation_id FROM trilho.end_call(%(id)s);

-- name: wake
SELECT id, name, queue, stretch, correlation_id FROM trilho.wake_sagas(%(ids)s);

-- name: wake_due
-- Suspended runs whose timer is over.
SELECT id, name, queue, stretch, correlation_id FROM trilho.wake_sagas(ARRAY(
    SELECT id FROM trilho.sagas WHERE wake_at <= clock_timestamp() ORDER BY wake_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED));

-- name: steps_ended
-- The jobs of steps came to their end: recorded in the same commit. A job that never began has left nothing behind. One
-- that was revoked has failed for good, unless its time was over: then it is an attempt that failed.
UPDATE trilho.saga_steps t SET
    state = CASE WHEN j.state = 'SUCCESS' THEN 'DONE' WHEN j.state = 'FAILURE' OR t.timed_out THEN 'RETRY'
                 ELSE 'FAILED' END,
    result = CASE WHEN j.state = 'SUCCESS' THEN j.result END,
    error = CASE WHEN t.timed_out AND j.state = 'REVOKED' THEN t.kind || ' ' || t.name || ' took longer than it may'
                 ELSE j.error END,
    failure = CASE WHEN j.state <> 'SUCCESS' THEN j.result END,
    atomic = t.atomic OR j.attempt = 0 AND t.attempt = 1,
    due_at = NULL,
    ended_at = CASE WHEN j.state = 'SUCCESS' OR j.state = 'REVOKED' AND NOT t.timed_out THEN clock_timestamp() END
FROM trilho.jobs j
WHERE t.job_id = ANY(%(ids)s) AND t.state = 'WAITING' AND j.id = t.job_id AND j.finished_at IS NOT NULL
RETURNING t.saga_id;

-- name: stretches_ended
-- RUNNING | COMPENSATING -> STUCK: the job of a stretch ended otherwise than by a stretch. Normal ends come before this.
UPDATE trilho.sagas s SET state = 'STUCK', stretch = NULL, wake_at = NULL,
    stuck = 'the job of its stretch is ' || j.state || coalesce(': ' || j.error, '')
FROM trilho.jobs j
WHERE s.stretch = ANY(%(ids)s) AND j.id = s.stretch AND j.finished_at IS NOT NULL
RETURNING s.id, CASE WHEN s.awaited THEN pg_notify('trilho_done', 'saga:' || s.id) END;

-- name: keep_events
-- One row for each event, whoever may wait for it.
INSERT INTO trilho.saga_mail (name, key, message_id, data, time)
SELECT topic, decode(key, 'hex'), id, data, time
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (topic text, key text, id text, data text, time timestamptz)
ON CONFLICT DO NOTHING;

-- name: waiters
SELECT array_agg(DISTINCT t.saga_id) FROM trilho.saga_steps t
JOIN json_to_recordset(CAST(%(rows)s AS json)) AS r (topic text, key text)
    ON t.name = r.topic AND t.key = decode(r.key, 'hex')
WHERE t.kind = 'event' AND t.state = 'WAITING';

-- name: signal
SELECT r.saga, s.saga_name, s.saga_queue, s.job, s.operation, s.known_state
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (saga text, name text, message_id text, data text),
     trilho.signal_saga(r.saga, r.name, r.message_id, r.data) s;

-- name: wait_briefly
-- Whoever steers a run has a transaction of his own, and may wait for another one of his own: that must have an end.
SELECT set_config('lock_timeout', '5s', true);

-- name: lock
SELECT state, verdict, stretch, stuck FROM trilho.sagas WHERE id = %(id)s FOR NO KEY UPDATE;

-- name: request_cancel
-- Whoever was told that a run is cancelled was told the truth: from then on it can only be undone.
UPDATE trilho.sagas SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()) WHERE id = %(id)s;

-- name: resume
-- STUCK -> RUNNING | COMPENSATING with a stretch to come.
UPDATE trilho.sagas SET state = CASE WHEN verdict IS NULL THEN 'WAITING' ELSE 'COMPENSATING' END, stuck = NULL
WHERE id = %(id)s AND state = 'STUCK';

-- name: try_again
-- Undos that gave up get a fresh budget of attempts.
UPDATE trilho.saga_steps SET state = 'RETRY', attempt = 0, job_id = NULL, due_at = NULL, ended_at = NULL
WHERE saga_id = %(id)s AND kind = 'undo' AND state = 'FAILED';

-- name: call_off
-- COMPLETED -> COMPENSATING: the caller of this run is undone.
UPDATE trilho.sagas SET state = 'COMPENSATING', verdict = 'called off', finished_at = NULL,
                        error = 'its caller ' || parent_id || ' is undone'
WHERE id = %(id)s AND state = 'COMPLETED';

-- name: standing
-- How an entry stands, and its job if that has not ended, nor is about to in this transaction.
SELECT t.state, j.id AS job_id, j.state AS job_state
FROM trilho.saga_steps t
LEFT JOIN trilho.jobs j ON j.id = t.job_id AND j.finished_at IS NULL AND j.id IS DISTINCT FROM %(revoked)s
WHERE t.saga_id = %(id)s AND t.path = %(path)s;

-- name: settle_entry
-- A person gives the result of an entry that has none; one whose job still runs is left alone. `revoked` is a job that
-- waited, and ends in this transaction.
UPDATE trilho.saga_steps t SET state = 'SKIPPED', result = %(result)s, due_at = NULL, ended_at = clock_timestamp()
WHERE saga_id = %(id)s AND path = %(path)s AND (state IN ('WAITING', 'RETRY') OR kind = 'undo' AND state = 'FAILED')
  AND NOT EXISTS (SELECT FROM trilho.jobs j
                  WHERE j.id = t.job_id AND j.finished_at IS NULL AND j.id IS DISTINCT FROM %(revoked)s)
RETURNING path;

-- name: await
-- Ask for an announcement of the end; where nothing is changed, it may have come already. The commit is not waited for,
-- as nothing but a wake-up is lost with it; the end of the run would have to wait for the row until then.
UPDATE trilho.sagas SET awaited = true
WHERE id = %(id)s AND NOT awaited AND finished_at IS NULL AND state <> 'STUCK'
  AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off';

-- name: view
SELECT id, name, version, state, verdict, error, stuck, args, result, failure, wake_at, deadline, cancel_requested_at,
       parent_id, correlation_id, created_at, finished_at
FROM trilho.sagas WHERE id = ANY(%(ids)s);

-- name: list
SELECT id, name, version, state, verdict, error, stuck, args, result, failure, wake_at, deadline, cancel_requested_at,
       parent_id, correlation_id, created_at, finished_at
FROM trilho.sagas
WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(name)s::text IS NULL OR name = %(name)s)
  AND (%(created_at)s::timestamptz IS NULL OR (created_at, id) < (%(created_at)s::timestamptz, %(after)s::text))
ORDER BY created_at DESC, id DESC LIMIT %(limit)s;

-- name: history
SELECT path, kind, name, state, attempt, job_id, child_id, args, undo, result, error, due_at, timed_out, started_at,
       ended_at
FROM trilho.saga_steps WHERE saga_id = %(id)s ORDER BY started_at, path;

-- name: lost
-- Attempts of a run's jobs that ended with their worker. A run has the job of its present stretch, a step that of its
-- latest attempt; the timeline has the others.
SELECT a.job_id, t.path AS step, a.number AS attempt, a.worker_name AS worker, a.error, a.started_at, a.finished_at
FROM (
    SELECT stretch AS id FROM trilho.sagas WHERE id = %(id)s
    UNION
    SELECT job_id FROM trilho.saga_steps WHERE saga_id = %(id)s
    UNION
    SELECT id FROM (
        SELECT n.id, n.kind, n.cause FROM trilho.sagas s JOIN trilho.timeline n ON n.operation = left(s.correlation_id, 255)
        WHERE s.id = %(id)s ORDER BY n.number DESC LIMIT %(notes)s) lately
    WHERE kind = 'job' AND cause = %(id)s) jobs
JOIN trilho.job_attempts a ON a.job_id = jobs.id AND (a.outcome = 'LOST' OR a.crash)
LEFT JOIN trilho.saga_steps t ON t.job_id = a.job_id
ORDER BY a.finished_at, a.job_id, a.number LIMIT %(limit)s;
