-- The relay into Kafka. A lane (shard) has at most one batch on its way, and `shards` says which:
--
--   ready --choose: number + 1, positions--> chosen --Kafka transaction: events, and the number as an offset-->
--         ^                                    |              out: finish (rows and batch go) --> ready
--         +------ dissolve (rows stay) <-------+ not out, and the fence makes sure of that
--
-- Each verb runs in a transaction that locked the shards first (lock_lanes).

-- name: installation
-- The name of this database in Kafka, made when it is first asked for.
INSERT INTO trilho.installation DEFAULT VALUES ON CONFLICT (single) DO UPDATE SET single = true RETURNING identity;

-- name: known_installation
SELECT identity FROM trilho.installation;

-- name: lock_lanes
-- Those of the shards that are still ours, with what the last holder of the lock left in them.
SELECT shard, token, last_number, cardinality(batch), cluster FROM trilho.shards
WHERE shard = ANY(%(shards)s) AND owner = %(owner)s ORDER BY shard FOR UPDATE;

-- name: heads
-- What comes next in each shard, bounded in number and in bytes; in no order, for sorting it here would write it to disk.
SELECT s.shard, h.* FROM unnest(%(shards)s::int[], %(floors)s::bigint[], %(limits)s::int[]) AS s (shard, floor, rows)
CROSS JOIN LATERAL (
    SELECT position, topic, hash, key, data, id, type,
           to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), attributes, content_type
    FROM (SELECT o.*, sum(octet_length(data)) OVER (ORDER BY position) - octet_length(data) AS before
          FROM (SELECT * FROM trilho.outbox WHERE shard = s.shard AND position > s.floor ORDER BY position LIMIT s.rows) o) o
    WHERE before < %(bytes)s) h;

-- name: choose
-- Numbers a batch of a shard that has none under way, before Kafka sees it.
UPDATE trilho.shards s SET last_number = last_number + 1, batch = b.positions, cluster = %(cluster)s
FROM json_to_recordset(CAST(%(batches)s AS json)) AS b (shard integer, positions bigint[])
WHERE s.shard = b.shard AND s.batch IS NULL;

-- name: finish
-- Kafka has these batches. Rows are deleted where they are found, lane by lane: an outbox is empty whenever PostgreSQL
-- counts it, so that a join would compare each of its rows with each batch.
WITH emptied AS (
    UPDATE trilho.shards SET batch = NULL WHERE shard = ANY(%(shards)s)),
deleted AS (
    DELETE FROM trilho.outbox WHERE ctid = ANY(ARRAY(
        SELECT o.ctid FROM trilho.shards s
        CROSS JOIN LATERAL (
            SELECT ctid FROM trilho.outbox
            WHERE shard = s.shard AND position = ANY(s.batch) ORDER BY position) o
        WHERE s.shard = ANY(%(shards)s)))
    RETURNING shard, position)
SELECT shard, max(position), count(*), ARRAY[]::text[] FROM deleted GROUP BY shard;

-- name: dissolve
-- Kafka has nothing of these batches and never will; the number is never given below one that Kafka knows.
UPDATE trilho.shards s SET batch = NULL, last_number = greatest(s.last_number, k.number)
FROM unnest(%(shards)s::int[], %(numbers)s::bigint[]) AS k (shard, number) WHERE s.shard = k.shard;

-- name: bury
-- Kafka refuses the one event of this batch for good: a person decides, and what comes after it goes on.
WITH refused AS (
    DELETE FROM trilho.outbox o USING trilho.shards s
    WHERE s.shard = %(shard)s AND o.shard = s.shard AND o.position = ANY(s.batch) RETURNING o.*),
emptied AS (
    UPDATE trilho.shards SET batch = NULL WHERE shard = %(shard)s)
INSERT INTO trilho.dead_letters (
    "group", topic, partition, "offset", id, key, type, time, attributes, data, content_type, attempts, error)
SELECT %(group)s, topic, -1, position, id, key, type, time, attributes, data, content_type, 1, %(error)s FROM refused;

-- name: declared
-- How topics are to be made that Kafka does not have.
SELECT name, partitions, extract(epoch FROM retention)::float FROM trilho.topics WHERE name = ANY(%(names)s);

-- name: adopt
-- Kafka's number of partitions is the truth; no batch is under way with another one in any lane that sees this.
INSERT INTO trilho.topics AS t (name, partitions, retention)
SELECT name, partitions, %(retention)s * interval '1 second'
FROM unnest(%(names)s::text[], %(partitions)s::int[]) AS k (name, partitions) ORDER BY name
ON CONFLICT (name) DO UPDATE SET partitions = excluded.partitions WHERE t.partitions <> excluded.partitions;

-- name: first_in_doubt
SELECT o.topic, o.id FROM trilho.shards s JOIN trilho.outbox o ON o.shard = s.shard AND o.position = s.batch[1]
WHERE s.shard = %(shard)s;
