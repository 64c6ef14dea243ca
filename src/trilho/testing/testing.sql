-- name: due
-- What a worker would be given now.
SELECT id, task FROM trilho.jobs
WHERE state IN ('PENDING', 'RETRY') AND NOT held AND run_at <= clock_timestamp() AND task = ANY(%(tasks)s)
ORDER BY priority DESC, run_at, id;

-- name: advance
-- What waits for a time comes nearer to it.
UPDATE trilho.jobs SET run_at = run_at - %(by)s, expires_at = expires_at - %(by)s WHERE state IN ('PENDING', 'RETRY');
