-- What a page about an operation reads. Every query finds its rows by an index and is bounded, however many there are.

-- name: operations
-- An id may be that of an operation, a job, an event, a saga, or the key of events: of a key the latest operations.
SELECT operation FROM (
    SELECT coalesce(headers::json #>> '{trilho_trace,correlation_id}', root_id, id) AS operation,
           9223372036854775807 AS latest
    FROM trilho.jobs WHERE id = %(id)s
    UNION ALL
    SELECT %(id)s, 9223372036854775807 WHERE EXISTS (SELECT FROM trilho.timeline WHERE operation = %(id)s)
    UNION ALL
    SELECT operation, 9223372036854775807 FROM trilho.timeline WHERE kind = 'event' AND id = %(id)s
    UNION ALL
    SELECT correlation_id, 9223372036854775807 FROM trilho.sagas WHERE id = %(id)s
    UNION ALL
    SELECT operation, number
    FROM (SELECT operation, number FROM trilho.timeline WHERE key = %(id)s ORDER BY number DESC LIMIT 1000) lately
) found
GROUP BY operation ORDER BY max(latest) DESC, operation LIMIT %(limit)s;

-- name: notes
SELECT n.operation, n.number, n.kind, n.id, n.cause, n.via, n.name, n.key, n.at, n.ended_at, n.outcome, n.attempt,
       n.error, n.partition, n."offset"
FROM unnest(%(operations)s::text[]) AS o (operation)
CROSS JOIN LATERAL (SELECT * FROM trilho.timeline t WHERE t.operation = o.operation ORDER BY number LIMIT %(limit)s) n
ORDER BY n.number LIMIT %(limit)s;

-- name: count
SELECT sum(c.count)::bigint FROM unnest(%(operations)s::text[]) AS o (operation)
CROSS JOIN LATERAL (SELECT count(*) FROM (
    SELECT FROM trilho.timeline t WHERE t.operation = o.operation LIMIT %(limit)s) counted) c;

-- name: job_states
-- Of all jobs of the operations, those that are not shown too.
SELECT j.state, count(*) FROM unnest(%(operations)s::text[]) AS o (operation)
CROSS JOIN LATERAL (SELECT DISTINCT id FROM (
    SELECT id, kind FROM trilho.timeline t WHERE t.operation = o.operation ORDER BY number LIMIT %(limit)s) counted
    WHERE kind = 'job') n
JOIN trilho.jobs j ON j.id = n.id
GROUP BY j.state ORDER BY j.state;

-- name: jobs
SELECT id, task, queue, state, held, attempt, max_retries + 1 AS max_attempts, error, worker_name AS worker, created_at,
       run_at, started_at, finished_at, parent_id,
       CASE WHEN state = 'SUCCESS' AND length(result) <= %(longest)s THEN result END AS result,
       CASE WHEN finished_at IS NULL AND length(progress) <= %(longest)s THEN progress END AS progress,
       state IN ('PENDING', 'RETRY') AND NOT held AND run_at > clock_timestamp() AS scheduled
FROM trilho.jobs WHERE id = ANY(%(ids)s);

-- name: attempts
SELECT a.job_id, a.number, a.outcome, a.error, a.worker_name AS worker, a.started_at, a.finished_at
FROM unnest(%(ids)s::text[]) AS j (id)
CROSS JOIN LATERAL (
    SELECT * FROM trilho.job_attempts a WHERE a.job_id = j.id ORDER BY number DESC LIMIT %(each)s) a
ORDER BY a.job_id, a.number;

-- name: readers
-- How far each group has come with these topics; a few rows for each group.
SELECT topic, partition, "group", max(next_offset) AS next_offset FROM trilho.offsets
WHERE topic = ANY(%(topics)s) GROUP BY topic, partition, "group";

-- name: logged
-- The events that the PostgreSQL log still has.
SELECT l.id, l.time, l.type, convert_from(l.data, 'UTF8') AS data
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(offsets)s::bigint[]) AS w (topic, partition, "offset")
JOIN trilho.log l ON l.topic = w.topic AND l.partition = w.partition AND l."offset" = w."offset"
WHERE l.content_type = 'application/json' AND octet_length(l.data) <= %(longest)s;

-- name: sagas
SELECT id, name, version, state, verdict, error, stuck, parent_id, parent_path, created_at, finished_at,
       CASE WHEN length(result) <= %(longest)s THEN result END AS result
FROM trilho.sagas WHERE correlation_id = ANY(%(operations)s) ORDER BY created_at, id LIMIT %(limit)s;

-- name: steps
-- Not what only keeps a replay deterministic.
SELECT t.saga_id, t.path, t.kind, t.name, t.state, t.attempt, t.job_id, t.error, t.timed_out, t.due_at, t.started_at,
       t.ended_at, CASE WHEN length(t.result) <= %(longest)s THEN t.result END AS result
FROM unnest(%(ids)s::text[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT * FROM trilho.saga_steps t
    WHERE t.saga_id = s.id AND t.kind NOT IN ('now', 'uuid', 'patch') ORDER BY t.started_at, t.path LIMIT %(each)s) t;

-- name: now
SELECT clock_timestamp();
