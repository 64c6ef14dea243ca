-- name: due
-- What a worker would be given now.
SELECT id, task FROM trilho.jobs
WHERE state IN ('PENDING', 'RETRY') AND NOT held AND run_at <= clock_timestamp() AND task = ANY(%(tasks)s)
ORDER BY priority DESC, run_at, id;

-- name: advance
-- What waits for a time comes nearer to it.
UPDATE trilho.jobs SET run_at = run_at - %(by)s, expires_at = expires_at - %(by)s WHERE state IN ('PENDING', 'RETRY');

-- name: advance_sagas
UPDATE trilho.sagas SET wake_at = wake_at - %(by)s, deadline = deadline - %(by)s WHERE finished_at IS NULL;

-- name: advance_saga_steps
UPDATE trilho.saga_steps SET due_at = due_at - %(by)s WHERE state IN ('WAITING', 'RETRY');

-- name: published
-- What sagas have not been told of yet.
SELECT topic, 0, 0, id, key, type, time, attributes, data, content_type FROM trilho.outbox
WHERE topic = ANY(%(topics)s) AND id <> ALL(%(known)s) ORDER BY position;
