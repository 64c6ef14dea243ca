-- The event side: outbox -> log -> handlers, each arrow one transaction.
--
--   publish (caller's commit) -> outbox --move--> log --fetch, handle, swap--> effects and offset in one commit
--                                                        handler fails --park--> parked --retry--> done | dead letter
--
-- Lists travel as one JSON parameter, as on the job side.

-- name: publish
-- Positions are given in the order of the list, which is the order of the publish() calls of the transaction.
-- Noted in the timeline here, not when it is relayed: the same on its way into either log, and one commit.
WITH r AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (
        shard smallint, hash integer, topic text, id text, key text, type text, time timestamptz, attributes text,
        data text, raw boolean, content_type text, operation text, cause text, via text, noted_key text)),
noted AS (
    INSERT INTO trilho.timeline (operation, kind, id, cause, via, name, key)
    SELECT operation, 'event', id, cause, via, topic, noted_key FROM r WHERE operation IS NOT NULL)
INSERT INTO trilho.outbox (shard, hash, topic, id, key, type, time, attributes, data, content_type)
SELECT shard, hash, topic, id, decode(key, 'base64'), type, time, attributes,
       CASE WHEN raw THEN decode(data, 'base64') ELSE convert_to(data, 'UTF8') END, content_type
FROM r
RETURNING 1;

-- name: declare
-- What an application says about its topics; the number of partitions only grows.
INSERT INTO trilho.topics AS t (name, partitions, retention)
SELECT name, partitions, retention * interval '1 second'
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (name text, partitions integer, retention double precision)
ORDER BY name
ON CONFLICT (name) DO UPDATE SET
    partitions = greatest(t.partitions, excluded.partitions), retention = excluded.retention
WHERE t.partitions < excluded.partitions OR t.retention IS DISTINCT FROM excluded.retention;

-- name: lease_shards
-- Keep the lanes that are ours, take those that nobody holds any more.
UPDATE trilho.shards s SET
    owner = %(owner)s, until = clock_timestamp() + %(seconds)s * interval '1 second',
    token = s.token + (s.owner IS DISTINCT FROM %(owner)s)::int
WHERE shard IN (SELECT shard FROM trilho.shards WHERE owner = %(owner)s OR until < clock_timestamp()
                ORDER BY shard FOR UPDATE SKIP LOCKED)
RETURNING shard;

-- name: give_up_shards
UPDATE trilho.shards SET until = '-infinity', owner = NULL WHERE owner = %(owner)s;

-- name: lock_shards
-- First statement of a move: a relay that lost its lease while it stood still finds no row here. A statement of its own,
-- for the next one must see what the last holder of the lock committed.
-- None on a database that is on Kafka: what came behind events there would be handled before them, or long after.
SELECT shard FROM trilho.shards
WHERE shard = ANY(%(shards)s) AND owner = %(owner)s AND NOT EXISTS (SELECT 1 FROM trilho.installation)
ORDER BY shard FOR UPDATE;

-- name: on_kafka
SELECT EXISTS (SELECT 1 FROM trilho.installation);

-- name: move
-- Outbox -> PostgreSQL log. The partition's row is locked by the upsert until the commit, so nobody ever reads a gap.
-- Rows are deleted where they were found, not joined: an outbox is empty whenever PostgreSQL counts it, so that it would
-- compare each row with each for the first burst. Nobody else touches rows of a shard whose lock we hold.
WITH batch AS (
    DELETE FROM trilho.outbox WHERE ctid = ANY(ARRAY(
        SELECT b.ctid FROM unnest(%(shards)s::int[], %(floors)s::bigint[]) AS s (shard, floor)
        CROSS JOIN LATERAL (
            SELECT ctid FROM trilho.outbox
            WHERE shard = s.shard AND position > s.floor ORDER BY position LIMIT %(limit)s) b))
    RETURNING *),
made AS (
    INSERT INTO trilho.topics (name, partitions, retention)
    SELECT DISTINCT topic, %(partitions)s::integer, %(retention)s * interval '1 second' FROM batch
    WHERE NOT EXISTS (SELECT 1 FROM trilho.topics t WHERE t.name = topic)
    -- One that was declared since this statement began tells its number here: the join below cannot see it.
    ORDER BY topic ON CONFLICT (name) DO UPDATE SET partitions = topics.partitions
    RETURNING name, partitions),
placed AS (
    SELECT b.*, b.hash %% coalesce(t.partitions, m.partitions) AS partition
    FROM batch b LEFT JOIN trilho.topics t ON t.name = b.topic LEFT JOIN made m ON m.name = b.topic),
grown AS (
    INSERT INTO trilho.log_partitions AS p (topic, partition, next_offset)
    SELECT topic, partition, count(*) FROM placed GROUP BY topic, partition ORDER BY topic, partition
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = p.next_offset + excluded.next_offset
    RETURNING topic, partition, next_offset),
appended AS (
    INSERT INTO trilho.log (topic, partition, "offset", id, key, type, time, attributes, data, content_type)
    SELECT p.topic, p.partition,
           g.next_offset - count(*) OVER lane + row_number() OVER (lane ORDER BY p.position) - 1,
           p.id, p.key, p.type, p.time, p.attributes, p.data, p.content_type
    FROM placed p JOIN grown g USING (topic, partition)
    WINDOW lane AS (PARTITION BY p.topic, p.partition))
SELECT shard, max(position), count(*), array_agg(DISTINCT topic) FROM batch GROUP BY shard;

-- name: announce
-- In the relay's own commit, and in a commit of their own for publishers: never in a publisher's.
SELECT pg_notify('trilho_done', key) FROM unnest(%(keys)s::text[]) AS key;

-- name: topic_identities
-- A topic that is smaller on Kafka still has all partitions of its past here.
SELECT name, 'postgres:' || identity::text AS log,
       greatest(partitions, (SELECT max(p.partition) + 1 FROM trilho.log_partitions p WHERE p.topic = t.name))
FROM trilho.topics t WHERE name = ANY(%(topics)s) ORDER BY name;

-- name: enter_group
INSERT INTO trilho.group_members ("group", incarnation)
SELECT g, %(incarnation)s FROM unnest(%(groups)s::text[]) AS g ORDER BY g ON CONFLICT DO NOTHING;

-- name: tell_topics
UPDATE trilho.group_members m SET topics = s.topics
FROM (SELECT s."group", array_agg(s.topic ORDER BY s.topic) AS topics
      FROM unnest(%(groups)s::text[], %(topics)s::text[]) AS s ("group", topic) GROUP BY s."group") s
WHERE m."group" = s."group" AND m.incarnation = %(incarnation)s;

-- name: leave_groups
DELETE FROM trilho.group_members WHERE incarnation = %(incarnation)s;

-- name: forget_members
DELETE FROM trilho.group_members m WHERE NOT EXISTS (
    SELECT 1 FROM trilho.processes p
    WHERE p.incarnation = m.incarnation AND p.state = 'running' AND p.seen_at + p.lease > clock_timestamp());

-- name: members
-- The live members of a group, with what they read.
SELECT m.incarnation, m.topics FROM trilho.group_members m JOIN trilho.processes p USING (incarnation)
WHERE m."group" = %(group)s AND p.state = 'running' AND p.seen_at + p.lease > clock_timestamp();

-- name: begin_group
-- The first look of a group at a topic decides for all partitions at once; partitions that come later start at their
-- beginning, for nothing in them is old.
INSERT INTO trilho.offsets ("group", log, topic, partition, next_offset)
SELECT %(group)s, %(log)s, %(topic)s, n,
       CASE WHEN %(latest)s AND NOT EXISTS (
                SELECT 1 FROM trilho.offsets o
                WHERE o."group" = %(group)s AND o.log = %(log)s AND o.topic = %(topic)s)
            THEN coalesce(p.next_offset, 0) ELSE coalesce(p.first_offset, 0) END
FROM generate_series(0, %(partitions)s - 1) AS n
LEFT JOIN trilho.log_partitions p ON p.topic = %(topic)s AND p.partition = n
-- What is there is not even tried: a conflict waits for whoever moves that row, and he may stand still.
WHERE NOT EXISTS (
    SELECT 1 FROM trilho.offsets o
    WHERE o."group" = %(group)s AND o.log = %(log)s AND o.topic = %(topic)s AND o.partition = n)
ORDER BY n ON CONFLICT DO NOTHING;

-- name: free_partitions
-- The generation of each partition of a topic that nobody alive owns.
SELECT o.partition, o.generation FROM trilho.offsets o
WHERE o."group" = %(group)s AND o.log = %(log)s AND o.topic = %(topic)s AND o.partition = ANY(%(partitions)s)
  AND (o.owner IS NULL OR o.owner = %(owner)s OR NOT EXISTS (
      SELECT 1 FROM trilho.processes p
      WHERE p.incarnation = o.owner AND p.state IN ('running', 'stopping') AND p.seen_at + p.lease > clock_timestamp()));

-- name: take_partitions
-- A new generation for each partition that changes hands: what the former owner still has in hand counts no more.
-- Ours already, if giving it up did not reach the server.
UPDATE trilho.offsets o SET owner = %(owner)s, generation = generation + 1
WHERE o."group" = %(group)s AND o.log = %(log)s AND o.topic = %(topic)s AND o.partition = ANY(%(partitions)s)
  AND (o.owner IS NULL OR o.owner = %(owner)s OR NOT EXISTS (
      SELECT 1 FROM trilho.processes p
      WHERE p.incarnation = o.owner AND p.state IN ('running', 'stopping') AND p.seen_at + p.lease > clock_timestamp()))
RETURNING partition, next_offset, generation;

-- name: owned_partitions
SELECT "group", log, topic, partition, generation FROM trilho.offsets
WHERE owner = %(owner)s AND log LIKE 'postgres:%%';

-- name: give_up_partition
UPDATE trilho.offsets SET owner = NULL
WHERE owner = %(owner)s AND "group" = %(group)s AND log = %(log)s AND topic = %(topic)s AND partition = %(partition)s;

-- name: generations
SELECT partition, generation FROM trilho.offsets
WHERE "group" = %(group)s AND log = %(log)s AND topic = %(topic)s;

-- name: read_logs
-- Kinds of logs in which the group has read this topic: 'postgres', 'kafka'.
SELECT DISTINCT split_part(log, ':', 1) FROM trilho.offsets WHERE "group" = %(group)s AND topic = %(topic)s;

-- name: begin_partitions
-- On Kafka: whoever inserts first decides for all partitions.
INSERT INTO trilho.offsets ("group", log, topic, partition, next_offset)
SELECT %(group)s, %(log)s, %(topic)s, partition, "offset"
FROM json_to_recordset(CAST(%(rows)s AS json)) AS r (partition integer, "offset" bigint)
ORDER BY partition ON CONFLICT DO NOTHING;

-- name: wait_at_most
SELECT set_config('lock_timeout', %(milliseconds)s, true);

-- name: seize_partitions
-- Kafka gave them to us: the former owner's lease does not matter, and what he still has in hand counts no more.
UPDATE trilho.offsets o SET owner = %(owner)s, generation = generation + 1
FROM (SELECT partition FROM trilho.offsets
      WHERE "group" = %(group)s AND log = %(log)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
      ORDER BY partition FOR UPDATE) mine
WHERE o."group" = %(group)s AND o.log = %(log)s AND o.topic = %(topic)s AND o.partition = mine.partition
RETURNING o.partition, o.next_offset, o.generation;

-- name: rename_owner
-- The same process under a new lease; what it took on Kafka is its own until Kafka says otherwise.
UPDATE trilho.offsets SET owner = %(new)s WHERE owner = %(old)s AND log LIKE 'kafka:%%';

-- name: undrained
-- Which of these groups have something left to read in the PostgreSQL log of a topic.
SELECT DISTINCT s."group", s.topic
FROM json_to_recordset(CAST(%(rows)s AS json)) AS s ("group" text, topic text, latest boolean)
JOIN trilho.topics t ON t.name = s.topic
JOIN trilho.log_partitions p ON p.topic = s.topic
LEFT JOIN trilho.offsets o ON o."group" = s."group" AND o.log = 'postgres:' || t.identity::text AND o.topic = s.topic
                          AND o.partition = p.partition
WHERE p.next_offset > greatest(o.next_offset, p.first_offset)
  AND (o.partition IS NOT NULL OR NOT s.latest OR EXISTS (
      SELECT 1 FROM trilho.offsets b
      WHERE b."group" = s."group" AND b.log = 'postgres:' || t.identity::text AND b.topic = s.topic));

-- name: skip_expired
-- What these groups had left in the PostgreSQL log has expired, partition by partition, and nobody reads there: returns
-- how much it was.
WITH gone AS (
    SELECT o."group", o.log, o.topic, o.partition, p.first_offset - o.next_offset AS count
    FROM json_to_recordset(CAST(%(rows)s AS json)) AS s ("group" text, topic text)
    JOIN trilho.topics t ON t.name = s.topic
    JOIN trilho.log_partitions p ON p.topic = s.topic AND p.first_offset = p.next_offset
    JOIN trilho.offsets o ON o."group" = s."group" AND o.log = 'postgres:' || t.identity::text AND o.topic = s.topic
                         AND o.partition = p.partition AND o.next_offset < p.first_offset
    WHERE o.owner IS NULL OR NOT EXISTS (
        SELECT 1 FROM trilho.processes p
        WHERE p.incarnation = o.owner AND p.state IN ('running', 'stopping') AND p.seen_at + p.lease > clock_timestamp())
    FOR UPDATE OF o SKIP LOCKED)
UPDATE trilho.offsets o SET next_offset = o.next_offset + gone.count FROM gone
WHERE o."group" = gone."group" AND o.log = gone.log AND o.topic = gone.topic AND o.partition = gone.partition
RETURNING o."group", o.log, o.topic, o.partition, gone.count;

-- name: position
-- Where a lane stands, after a swap that did not hit; it is ours as long as it has our generation.
SELECT next_offset, generation FROM trilho.offsets
WHERE "group" = %(group)s AND log = %(log)s AND topic = %(topic)s AND partition = %(partition)s;

-- name: end_backends
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = ANY(%(names)s) AND pid <> pg_backend_pid();

-- name: fetch
SELECT topic, partition, "offset", id, key, type, time, attributes, data, content_type FROM trilho.log
WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" >= %(offset)s ORDER BY "offset" LIMIT %(limit)s;

-- name: swap
-- Last statement of a handler's transaction: the offset moves with the effects, once, and only for its owner. What was
-- handled is noted for the timeline on the way.
WITH noted AS (
    INSERT INTO trilho.timeline (
        operation, kind, id, via, name, key, at, ended_at, outcome, attempt, partition, "offset")
    SELECT operation, 'handling', id, left(%(group)s, 255), %(topic)s, key, clock_timestamp() - begun * interval '1 second',
           clock_timestamp() - (begun - took) * interval '1 second', 'done', 1, %(partition)s, e."offset"
    FROM unnest(%(operations)s::text[], %(ids)s::text[], %(keys)s::text[], %(offsets)s::bigint[], %(begun)s::float8[],
                %(took)s::float8[]) AS e (operation, id, key, "offset", begun, took))
UPDATE trilho.offsets SET next_offset = %(to)s, moved_at = clock_timestamp()
WHERE "group" = %(group)s AND log = %(log)s AND topic = %(topic)s AND partition = %(partition)s
  AND generation = %(generation)s AND next_offset = %(from)s
RETURNING 1;

-- name: hold
-- The fence of a retry from the parked events, which moves no offset.
SELECT 1 FROM trilho.offsets
WHERE "group" = %(group)s AND log = %(log)s AND topic = %(topic)s AND partition = %(partition)s
  AND generation = %(generation)s FOR SHARE;

-- name: wait_turn
-- One batch of a group at a time, of those that ask for it.
SELECT pg_advisory_xact_lock(7407, hashtext(%(group)s));

-- name: some_parked
-- Mostly nothing waits: then the keys of a batch need not be looked at. A key may have moved from another partition.
SELECT 1 FROM trilho.parked_keys WHERE "group" = %(group)s AND topic = %(topic)s LIMIT 1;

-- name: lock_parked
-- Which of these lanes wait already; the marker stays locked, so that nobody un-parks the lane under a new event.
SELECT lane FROM trilho.parked_keys
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = ANY(%(lanes)s) ORDER BY lane FOR UPDATE;

-- name: park_key
-- A marker that is there stays as it is, and locked: nobody un-parks the lane before our event is in it.
INSERT INTO trilho.parked_keys AS k ("group", topic, lane, partition, attempts, error, next_try)
VALUES (%(group)s, %(topic)s, %(lane)s, %(partition)s, %(attempts)s, %(error)s,
        clock_timestamp() + %(delay)s * interval '1 second')
ON CONFLICT ("group", topic, lane) DO UPDATE SET lane = k.lane;

-- name: park_events
INSERT INTO trilho.parked_events (
    "group", topic, lane, partition, "offset", id, key, type, time, attributes, data, content_type)
SELECT %(group)s, l.topic, p.lane, l.partition, l."offset", l.id, l.key, l.type, l.time, l.attributes, l.data, l.content_type
FROM json_to_recordset(CAST(%(rows)s AS json)) AS p (
    lane text, topic text, partition integer, "offset" bigint, id text, key text, type text, time timestamptz,
    attributes text, data text, content_type text)
CROSS JOIN LATERAL (SELECT p.topic, p.partition, p."offset", p.id, decode(p.key, 'base64') AS key, p.type, p.time,
                           p.attributes, decode(p.data, 'base64') AS data, p.content_type) l;

-- name: due_parked
-- The lane of this partition that has waited longest past its time; locked, so that one member at a time retries it.
-- Lanes of partitions that this log does not have, for the group came from another one, are the first partition's.
SELECT lane, attempts FROM trilho.parked_keys k
WHERE "group" = %(group)s AND topic = %(topic)s AND next_try <= clock_timestamp()
  AND (partition = %(partition)s OR %(partition)s = 0 AND NOT EXISTS (
      SELECT 1 FROM trilho.offsets o
      WHERE o."group" = k."group" AND o.log = %(log)s AND o.topic = k.topic AND o.partition = k.partition))
  AND (%(only)s::text IS NULL OR lane = %(only)s)
ORDER BY next_try LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: first_parked
SELECT topic, partition, "offset", id, key, type, time, attributes, data, content_type, sequence FROM trilho.parked_events
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s ORDER BY sequence LIMIT 1;

-- name: drop_parked
DELETE FROM trilho.parked_events
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s AND sequence = %(sequence)s;

-- name: advance_parked
-- The head of the lane is settled: the next one is due at once, and without a next one the lane flows again.
WITH more AS (
    SELECT EXISTS (SELECT 1 FROM trilho.parked_events
                   WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s AND sequence > %(sequence)s) AS waits),
freed AS (
    DELETE FROM trilho.parked_keys
    WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s AND NOT (SELECT waits FROM more))
UPDATE trilho.parked_keys SET attempts = 0, error = NULL, next_try = clock_timestamp()
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s AND (SELECT waits FROM more);

-- name: postpone_parked
-- The head failed again; without a delay it waits for a person.
UPDATE trilho.parked_keys SET attempts = attempts + 1, error = %(error)s,
    next_try = clock_timestamp() + %(delay)s * interval '1 second'
WHERE "group" = %(group)s AND topic = %(topic)s AND lane = %(lane)s;

-- name: count_parked
SELECT count(*) FROM (SELECT 1 FROM trilho.parked_keys
                      WHERE "group" = %(group)s AND topic = %(topic)s AND partition = %(partition)s LIMIT %(limit)s) k;

-- name: bury
-- A group gives an event up.
INSERT INTO trilho.dead_letters (
    "group", topic, partition, "offset", id, key, type, time, attributes, data, content_type, attempts, error)
VALUES (%(group)s, %(topic)s, %(partition)s, %(offset)s, %(id)s, %(key)s, %(type)s, %(time)s, %(attributes)s, %(data)s,
        %(content_type)s, %(attempts)s, %(error)s);

-- name: expire_log
-- Retention, oldest first and a batch at a time. The partition's row is locked first: its beginning moves in the commit.
WITH p AS MATERIALIZED (
    SELECT p.topic, p.partition, p.first_offset, t.retention
    FROM trilho.log_partitions p JOIN trilho.topics t ON t.name = p.topic
    WHERE t.retention IS NOT NULL AND p.first_offset < p.next_offset
      AND EXISTS (SELECT 1 FROM trilho.log l WHERE l.topic = p.topic AND l.partition = p.partition
                  AND l."offset" = p.first_offset AND l.appended_at < clock_timestamp() - t.retention)
    ORDER BY p.topic, p.partition LIMIT 1 FOR UPDATE OF p SKIP LOCKED),
old AS (
    SELECT l.topic, l.partition, l."offset" FROM p CROSS JOIN LATERAL (
        SELECT topic, partition, "offset", appended_at FROM trilho.log l
        WHERE l.topic = p.topic AND l.partition = p.partition AND l."offset" >= p.first_offset
        ORDER BY l."offset" LIMIT %(limit)s) l
    WHERE l.appended_at < clock_timestamp() - p.retention),
gone AS (
    DELETE FROM trilho.log l USING old
    WHERE l.topic = old.topic AND l.partition = old.partition AND l."offset" = old."offset" RETURNING l."offset")
UPDATE trilho.log_partitions lp SET first_offset = (SELECT max("offset") + 1 FROM gone)
FROM p WHERE lp.topic = p.topic AND lp.partition = p.partition AND EXISTS (SELECT 1 FROM gone)
RETURNING lp.topic;
