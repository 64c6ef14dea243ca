-- Samples are written by one elected dispatcher and read by everybody, so that statistics count nothing themselves.

-- name: sample
-- Queues are those that have rows, those that live workers consume, and those of the last sample.
WITH known AS (
    SELECT DISTINCT unnest(queues) AS queue FROM trilho.processes WHERE state IN ('running', 'stopping')
    UNION SELECT queue FROM trilho.samples WHERE at > clock_timestamp() - interval '1 minute'),
sent AS (
    SELECT queue, count(*) AS n, min(sent_at) AS oldest FROM trilho.jobs
    WHERE state IN ('PENDING', 'RETRY') AND NOT held AND sent_at IS NOT NULL GROUP BY queue),
unsent AS (
    SELECT queue, count(*) FILTER (WHERE run_at <= clock_timestamp()) AS due,
           count(*) FILTER (WHERE run_at > clock_timestamp()) AS later,
           min(run_at) FILTER (WHERE run_at <= clock_timestamp()) AS oldest
    FROM trilho.jobs WHERE state IN ('PENDING', 'RETRY') AND NOT held AND sent_at IS NULL GROUP BY queue),
running AS (
    SELECT queue, count(*) AS n FROM trilho.jobs WHERE state IN ('STARTED', 'PROCESSING') GROUP BY queue),
ended AS (
    SELECT key AS queue, sum(value::bigint)::bigint AS n
    FROM trilho.processes, jsonb_each_text(finished) GROUP BY key),
queues AS (
    SELECT queue FROM known UNION SELECT queue FROM sent UNION SELECT queue FROM unsent
    UNION SELECT queue FROM running)
INSERT INTO trilho.samples (queue, waiting, scheduled, running, oldest_at, finished)
SELECT queue, coalesce(sent.n, 0) + coalesce(unsent.due, 0), coalesce(unsent.later, 0), coalesce(running.n, 0),
       least(sent.oldest, unsent.oldest), coalesce(ended.n, 0)
FROM queues LEFT JOIN sent USING (queue) LEFT JOIN unsent USING (queue) LEFT JOIN running USING (queue)
    LEFT JOIN ended USING (queue)
ON CONFLICT DO NOTHING;

-- name: forget_samples
DELETE FROM trilho.samples WHERE at < clock_timestamp() - interval '1 hour';

-- name: queues
-- The latest sample of each queue; throughput against the oldest sample of the last minute.
SELECT now.queue AS name, now.waiting, now.scheduled, now.running,
       extract(epoch FROM clock_timestamp() - now.oldest_at)::double precision AS oldest_waiting_seconds,
       coalesce(greatest(now.finished - before.finished, 0) * 60
                / nullif(extract(epoch FROM now.at - before.at), 0), 0)::double precision AS finished_per_minute
FROM (SELECT DISTINCT ON (queue) * FROM trilho.samples
      WHERE at > clock_timestamp() - interval '1 minute' ORDER BY queue, at DESC) now
LEFT JOIN LATERAL (
    SELECT finished, at FROM trilho.samples s
    WHERE s.queue = now.queue AND s.at BETWEEN clock_timestamp() - interval '1 minute' AND now.at
    ORDER BY at LIMIT 1) before ON true
ORDER BY now.queue;

-- name: workers
-- Live workers, and for an hour those that were lost.
SELECT name, hostname, pid, pool, concurrency,
       CASE WHEN state IN ('running', 'stopping') AND seen_at + lease < clock_timestamp() THEN 'lost' ELSE state END AS state,
       running, processed, seen_at AS last_seen, last_progress
FROM trilho.processes
WHERE kind = 'worker' AND (state IN ('running', 'stopping')
    OR state = 'lost' AND seen_at > clock_timestamp() - interval '1 hour')
ORDER BY name, started_at;

-- name: failures
SELECT count(*) AS last_hour,
       count(*) FILTER (WHERE finished_at > clock_timestamp() - interval '1 minute') AS last_minute
FROM (SELECT finished_at FROM trilho.jobs
      WHERE state = 'FAILURE' AND finished_at > clock_timestamp() - interval '1 hour' LIMIT 10000) f;
