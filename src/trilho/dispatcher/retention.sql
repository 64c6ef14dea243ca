-- Retention: each walk looks at a page from its place on, and deletes what of it is old, in a transaction of its own.
-- A page gives the ids to delete, where it ended, and how many rows it saw.

-- name: jobs_by_id
-- A UUIDv7 tells when it was made: what is finished for long is below the id of that time in the primary key.
SELECT array_agg(id) FILTER (WHERE state = ANY(%(states)s) AND finished_at < %(cutoff)s), NULL, max(id), count(*)
FROM (SELECT id, state, finished_at FROM trilho.jobs
      WHERE id > %(after)s AND id < %(before)s ORDER BY id LIMIT %(limit)s) page;

-- name: jobs_by_age
-- The other ids: given by callers, or by plain Celery.
SELECT array_agg(id) FILTER (WHERE state = ANY(%(states)s) AND finished_at < %(cutoff)s),
       max(created_at), (array_agg(id ORDER BY created_at DESC, id DESC))[1], count(*)
FROM (SELECT id, state, finished_at, created_at FROM trilho.jobs
      WHERE left(id, 15) NOT LIKE '0_______-____-7' AND (created_at, id) > (%(since)s, %(after)s) AND created_at < %(cutoff)s
      ORDER BY created_at, id LIMIT %(limit)s) page;

-- name: delete_jobs
-- Looked at again under the lock: somebody may let a job run again. A crash of the server may bring the rows back, so
-- the commit is not waited for. A key that is held for a time leads to its job until then.
WITH old AS MATERIALIZED (
    SELECT id FROM trilho.jobs j
    WHERE id = ANY(%(ids)s) AND state = ANY(%(states)s) AND finished_at < %(cutoff)s
      AND NOT EXISTS (SELECT FROM trilho.job_keys k WHERE k.job_id = j.id AND k.expires_at > clock_timestamp())
      AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ORDER BY id FOR UPDATE SKIP LOCKED),
attempts AS (DELETE FROM trilho.job_attempts WHERE job_id = ANY(ARRAY(SELECT id FROM old))),
keys AS (DELETE FROM trilho.job_keys WHERE job_id = ANY(ARRAY(SELECT id FROM old)))
DELETE FROM trilho.jobs WHERE id = ANY(ARRAY(SELECT id FROM old));

-- name: groups
-- A saved group goes with the last of the jobs that it names.
SELECT array_agg(id) FILTER (WHERE NOT EXISTS (
           SELECT FROM jsonb_path_query(result::jsonb, 'strict $.** ? (@.type() == "string")') AS member (value)
           JOIN trilho.jobs j ON j.id = member.value #>> '{}')),
       max(created_at), (array_agg(id ORDER BY created_at DESC, id DESC))[1], count(*)
FROM (SELECT id, result, created_at FROM trilho.job_groups
      WHERE (created_at, id) > (%(since)s, %(after)s) AND created_at < %(cutoff)s
      ORDER BY created_at, id LIMIT %(limit)s) page;

-- name: delete_groups
DELETE FROM trilho.job_groups WHERE id = ANY(%(ids)s);

-- name: chords
-- A chord is needed until its body has come to its end; the body waits, held, for as long as members may come back.
SELECT array_agg(page.id) FILTER (WHERE j.id IS NULL OR j.finished_at IS NOT NULL),
       max(page.created_at), (array_agg(page.id ORDER BY page.created_at DESC, page.id DESC))[1], count(*)
FROM (SELECT id, body_id, created_at FROM trilho.chords
      WHERE (created_at, id) > (%(since)s, %(after)s) AND created_at < %(cutoff)s
      ORDER BY created_at, id LIMIT %(limit)s) page
LEFT JOIN trilho.jobs j ON j.id = page.body_id;

-- name: delete_chords
WITH parts AS (DELETE FROM trilho.chord_parts WHERE chord_id = ANY(%(ids)s))
DELETE FROM trilho.chords WHERE id = ANY(%(ids)s);

-- name: timeline
-- Notes go with the last of the jobs that may belong to their operation. They are never changed, so a place is a name.
SELECT array_agg(ctid::text), max(at), '', count(*)
FROM (SELECT ctid, at FROM trilho.timeline WHERE at >= %(since)s AND at < %(cutoff)s ORDER BY at LIMIT %(limit)s) page;

-- name: delete_notes
-- Looked at again: another note may stand in the same place by now.
DELETE FROM trilho.timeline WHERE ctid = ANY(CAST(%(ids)s AS tid[])) AND at < %(cutoff)s
  AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off';

-- name: attempts
-- Attempts of jobs that somebody deleted by hand.
SELECT array_agg(DISTINCT page.job_id) FILTER (WHERE j.id IS NULL), NULL, max(page.job_id), count(*)
FROM (SELECT job_id FROM trilho.job_attempts WHERE job_id > %(after)s ORDER BY job_id LIMIT %(limit)s) page
LEFT JOIN trilho.jobs j ON j.id = page.job_id;

-- name: delete_attempts
DELETE FROM trilho.job_attempts WHERE job_id = ANY(%(ids)s);

-- name: keys
SELECT array_agg(page.job_id) FILTER (WHERE j.id IS NULL), NULL, max(page.job_id), count(*)
FROM (SELECT job_id FROM trilho.job_keys WHERE job_id > %(after)s ORDER BY job_id LIMIT %(limit)s) page
LEFT JOIN trilho.jobs j ON j.id = page.job_id;

-- name: delete_keys
DELETE FROM trilho.job_keys WHERE job_id = ANY(%(ids)s);

-- name: sagas
-- Finished runs, by their age; one that was called stays while its operation goes on: its caller, or the caller of that
-- one, may still have it undone.
SELECT array_agg(page.id) FILTER (WHERE page.state = ANY(%(states)s) AND (page.parent_id IS NULL OR NOT EXISTS (
           SELECT FROM trilho.sagas p WHERE p.correlation_id = page.correlation_id AND p.finished_at IS NULL))),
       max(finished_at), (array_agg(id ORDER BY finished_at DESC, id DESC))[1], count(*)
FROM (SELECT id, state, parent_id, correlation_id, finished_at FROM trilho.sagas
      WHERE finished_at IS NOT NULL AND (finished_at, id) > (%(since)s, %(after)s) AND finished_at < %(cutoff)s
      ORDER BY finished_at, id LIMIT %(limit)s) page;

-- name: delete_sagas
WITH old AS MATERIALIZED (
    SELECT id FROM trilho.sagas WHERE id = ANY(%(ids)s) AND finished_at < %(cutoff)s
      AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    ORDER BY id FOR UPDATE SKIP LOCKED),
steps AS (DELETE FROM trilho.saga_steps WHERE saga_id = ANY(ARRAY(SELECT id FROM old))),
mail AS (DELETE FROM trilho.saga_mail WHERE saga_id = ANY(ARRAY(SELECT id FROM old)))
DELETE FROM trilho.sagas WHERE id = ANY(ARRAY(SELECT id FROM old));

-- name: saga_mail
-- Events that no live run may wait for any more.
SELECT array_agg(page.number::text) FILTER (WHERE NOT EXISTS (
           SELECT FROM trilho.sagas s
           WHERE s.finished_at IS NULL AND page.name = ANY(s.topics) AND s.listens_from <= page.time + interval '1 second')),
       max(kept_at), (array_agg(lpad(number::text, 19, '0') ORDER BY kept_at DESC, number DESC))[1], count(*)
FROM (SELECT number, name, time, kept_at FROM trilho.saga_mail
      WHERE saga_id IS NULL AND (kept_at, lpad(number::text, 19, '0')) > (%(since)s, %(after)s) AND kept_at < %(cutoff)s
      ORDER BY kept_at, number LIMIT %(limit)s) page;

-- name: delete_saga_mail
DELETE FROM trilho.saga_mail WHERE number = ANY(%(ids)s::bigint[]);
