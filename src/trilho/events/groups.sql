-- How far consumer groups are, and how they are let read from elsewhere.

-- name: progress
-- Of every log that a group ever read; which of them still exist, their administrations know.
SELECT o."group", o.log, o.topic, o.partition, o.next_offset AS "offset", p.name AS member, o.moved_at
FROM trilho.offsets o
LEFT JOIN trilho.processes p ON p.incarnation = o.owner
    AND p.state IN ('running', 'stopping') AND p.seen_at + p.lease > clock_timestamp()
WHERE %(group)s::text IS NULL OR o."group" = %(group)s ORDER BY o."group", o.topic, o.partition;

-- name: counts
SELECT g.name,
       (SELECT count(*) FROM trilho.group_members m JOIN trilho.processes p USING (incarnation)
        WHERE m."group" = g.name AND p.state = 'running' AND p.seen_at + p.lease > clock_timestamp()) AS members,
       (SELECT count(*) FROM trilho.parked_keys k WHERE k."group" = g.name) AS parked_keys,
       (SELECT count(*) FROM trilho.dead_letters d WHERE d."group" = g.name AND d.settled_at IS NULL) AS dead_letters
FROM unnest(%(groups)s::text[]) AS g (name);

-- name: live_members
SELECT p.name, p.hostname, p.pid, m.joined_at, p.seen_at, p.last_progress
FROM trilho.group_members m JOIN trilho.processes p USING (incarnation)
WHERE m."group" = %(group)s AND p.state = 'running' AND p.seen_at + p.lease > clock_timestamp() ORDER BY p.name, p.pid;

-- name: lock_offsets
-- Locked, so that a member that joins meanwhile reads from the new place.
SELECT partition, next_offset FROM trilho.offsets
WHERE "group" = %(group)s AND log = %(log)s AND topic = %(topic)s ORDER BY partition FOR UPDATE;

-- name: reset
-- A new generation, too: what somebody still has in hand counts no more.
UPDATE trilho.offsets o SET next_offset = r."to", generation = generation + 1, owner = NULL, moved_at = clock_timestamp()
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (partition integer, "to" bigint)
WHERE o."group" = %(group)s AND o.log = %(log)s AND o.topic = %(topic)s AND o.partition = r.partition;

-- name: clear_parked
WITH keys AS (
    DELETE FROM trilho.parked_keys WHERE "group" = %(group)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
    RETURNING lane)
DELETE FROM trilho.parked_events e USING keys
WHERE e."group" = %(group)s AND e.topic = %(topic)s AND e.lane = keys.lane;
