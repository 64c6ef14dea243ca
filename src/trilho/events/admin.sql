-- What people ask about streams, and how they steer what failed. Groups are in groups.sql.

-- name: outbox
SELECT topic, count(*) AS events, min(time) AS oldest FROM trilho.outbox GROUP BY topic ORDER BY topic;

-- name: relays
-- Nobody renews a lease of a relay that stands still.
SELECT DISTINCT coalesce(p.name, s.owner::text) FROM trilho.shards s LEFT JOIN trilho.processes p ON p.incarnation = s.owner
WHERE s.owner IS NOT NULL AND s.until > clock_timestamp() ORDER BY 1;

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

-- name: publish_again
-- An event that Kafka refused goes back where it came from.
INSERT INTO trilho.outbox (shard, hash, topic, id, key, type, time, attributes, data, content_type)
SELECT %(shard)s, %(hash)s, topic, id, key, type, time, attributes, data, content_type
FROM trilho.dead_letters WHERE number = %(number)s;

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
