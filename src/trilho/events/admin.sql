-- What people ask about streams, and how they steer them.

-- name: topics
SELECT t.name, t.partitions, extract(epoch FROM t.retention)::float AS retention_seconds, t.created_at,
       coalesce(sum(p.next_offset - p.first_offset), 0)::bigint AS events, coalesce(sum(p.next_offset), 0)::bigint AS ever
FROM trilho.topics t LEFT JOIN trilho.log_partitions p ON p.topic = t.name
WHERE %(name)s::text IS NULL OR t.name = %(name)s
GROUP BY t.name ORDER BY t.name;

-- name: partitions
SELECT partition, first_offset, next_offset FROM trilho.log_partitions WHERE topic = %(topic)s ORDER BY partition;

-- name: tail
-- The newest events of each partition; without ORDER BY over all of them, for the log may be long.
SELECT l.* FROM trilho.log_partitions p CROSS JOIN LATERAL (
    SELECT topic, partition, "offset", id, key, type, time, attributes, data, content_type FROM trilho.log l
    WHERE l.topic = p.topic AND l.partition = p.partition ORDER BY l."offset" DESC LIMIT %(limit)s) l
WHERE p.topic = %(topic)s AND (%(partition)s::int IS NULL OR p.partition = %(partition)s)
ORDER BY l.time DESC, l.partition, l."offset" DESC LIMIT %(limit)s;

-- name: event
SELECT topic, partition, "offset", id, key, type, time, attributes, data, content_type FROM trilho.log
WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" = %(offset)s;

-- name: groups
SELECT o."group" AS name, array_agg(DISTINCT o.topic ORDER BY o.topic) AS topics,
       (SELECT count(*) FROM trilho.group_members m JOIN trilho.processes p USING (incarnation)
        WHERE m."group" = o."group" AND p.state = 'running' AND p.seen_at + p.lease > clock_timestamp()) AS members,
       sum(greatest(0, coalesce(p.next_offset, 0) - o.next_offset))::bigint AS lag,
       (SELECT count(*) FROM trilho.parked_keys k WHERE k."group" = o."group") AS parked_keys,
       (SELECT count(*) FROM trilho.dead_letters d WHERE d."group" = o."group" AND d.settled_at IS NULL) AS dead_letters
FROM trilho.offsets o
JOIN trilho.topics t ON t.name = o.topic AND o.log = 'postgres:' || t.identity::text
LEFT JOIN trilho.log_partitions p ON p.topic = o.topic AND p.partition = o.partition
GROUP BY o."group" ORDER BY o."group";

-- name: lag
SELECT o.topic, o.partition, o.next_offset AS "offset", coalesce(p.next_offset, 0) AS "end",
       greatest(0, coalesce(p.next_offset, 0) - o.next_offset) AS lag, w.name AS member, o.moved_at
FROM trilho.offsets o
JOIN trilho.topics t ON t.name = o.topic AND o.log = 'postgres:' || t.identity::text
LEFT JOIN trilho.log_partitions p ON p.topic = o.topic AND p.partition = o.partition
LEFT JOIN trilho.processes w ON w.incarnation = o.owner
WHERE o."group" = %(group)s ORDER BY o.topic, o.partition;

-- name: live_members
SELECT p.name, p.hostname, p.pid, m.joined_at, p.seen_at, p.last_progress
FROM trilho.group_members m JOIN trilho.processes p USING (incarnation)
WHERE m."group" = %(group)s AND p.state = 'running' AND p.seen_at + p.lease > clock_timestamp() ORDER BY p.name, p.pid;

-- name: reset_targets
-- Where a reset would put each partition; locked, so that a member that joins meanwhile reads from the new place.
SELECT o.topic, o.partition, o.next_offset AS before, least(coalesce(p.next_offset, 0), greatest(coalesce(p.first_offset, 0),
       CASE %(to)s::text
            WHEN 'earliest' THEN coalesce(p.first_offset, 0)
            WHEN 'latest' THEN coalesce(p.next_offset, 0)
            WHEN 'offset' THEN %(offset)s::bigint
            ELSE coalesce((SELECT min(l."offset") FROM trilho.log l WHERE l.topic = o.topic AND l.partition = o.partition
                           AND l.appended_at >= %(time)s::timestamptz), p.next_offset, 0) END)) AS "to"
FROM trilho.offsets o
JOIN trilho.topics t ON t.name = o.topic AND o.log = 'postgres:' || t.identity::text
LEFT JOIN trilho.log_partitions p ON p.topic = o.topic AND p.partition = o.partition
WHERE o."group" = %(group)s AND o.topic = %(topic)s AND (%(partition)s::int IS NULL OR o.partition = %(partition)s)
ORDER BY o.partition FOR UPDATE OF o;

-- name: reset
-- A new generation, too: what somebody still has in hand counts no more.
UPDATE trilho.offsets o SET next_offset = r."to", generation = generation + 1, owner = NULL, moved_at = clock_timestamp()
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (partition integer, "to" bigint), trilho.topics t
WHERE o."group" = %(group)s AND o.topic = %(topic)s AND o.partition = r.partition
  AND t.name = o.topic AND o.log = 'postgres:' || t.identity::text;

-- name: clear_parked
WITH keys AS (
    DELETE FROM trilho.parked_keys WHERE "group" = %(group)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
    RETURNING lane)
DELETE FROM trilho.parked_events e USING keys
WHERE e."group" = %(group)s AND e.topic = %(topic)s AND e.lane = keys.lane;

-- name: dead_letters
SELECT number, "group", topic, partition, "offset", id, key, type, time, attributes, data, content_type, attempts, error,
       died_at, settled_at, settled_as
FROM trilho.dead_letters
WHERE (%(group)s::text IS NULL OR "group" = %(group)s) AND (%(topic)s::text IS NULL OR topic = %(topic)s)
  AND (%(settled)s OR settled_at IS NULL) AND (%(number)s::bigint IS NULL OR number = %(number)s)
  AND (%(before)s::bigint IS NULL OR number < %(before)s)
ORDER BY number DESC LIMIT %(limit)s;

-- name: settle_dead_letters
UPDATE trilho.dead_letters SET settled_at = clock_timestamp(), settled_as = %(how)s
WHERE number = ANY(ARRAY(SELECT number FROM trilho.dead_letters WHERE number = ANY(%(numbers)s) AND settled_at IS NULL
                         ORDER BY number FOR UPDATE))
RETURNING number, "group", topic, partition, "offset", id, key, type, time, attributes, data, content_type;

-- name: parked_keys
SELECT k."group", k.topic, k.lane, k.partition, k.attempts, k.error, k.next_try, k.parked_at,
       (SELECT count(*) FROM trilho.parked_events e WHERE e."group" = k."group" AND e.topic = k.topic AND e.lane = k.lane) AS events
FROM trilho.parked_keys k
WHERE (%(group)s::text IS NULL OR k."group" = %(group)s) AND (%(topic)s::text IS NULL OR k.topic = %(topic)s)
ORDER BY k.parked_at LIMIT %(limit)s;

-- name: retry_parked
UPDATE trilho.parked_keys SET next_try = clock_timestamp()
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s RETURNING lane;

-- name: lock_parked_key
SELECT attempts, error FROM trilho.parked_keys
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s FOR UPDATE;
