-- What administration asks of the PostgreSQL log.

-- name: topics
SELECT t.name, t.partitions, extract(epoch FROM t.retention)::float AS retention_seconds, t.created_at,
       coalesce(sum(p.next_offset - p.first_offset), 0)::bigint AS events, coalesce(sum(p.next_offset), 0)::bigint AS ever
FROM trilho.topics t LEFT JOIN trilho.log_partitions p ON p.topic = t.name
WHERE %(name)s::text IS NULL OR t.name = %(name)s
GROUP BY t.name ORDER BY t.name;

-- name: extents
SELECT t.name, n, coalesce(p.first_offset, 0), coalesce(p.next_offset, 0)
FROM trilho.topics t CROSS JOIN generate_series(0, t.partitions - 1) AS n
LEFT JOIN trilho.log_partitions p ON p.topic = t.name AND p.partition = n
WHERE t.name = ANY(%(topics)s) ORDER BY t.name, n;

-- name: offsets_at
SELECT l.partition, min(l."offset") FROM trilho.log l
WHERE l.topic = %(topic)s AND l.partition = ANY(%(partitions)s) AND l.appended_at >= %(time)s::timestamptz
GROUP BY l.partition;

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
