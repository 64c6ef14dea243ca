-- Notes of what happened. Jobs and events are noted by the statements that write them (jobs/jobs.sql, jobs/unique.sql,
-- events/events.sql), so that a note costs no round trip and is one commit with what it speaks of.

-- name: note
-- Times are given as ages, for the clocks of hosts differ. The commit of a note alone is not waited for.
WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now)
INSERT INTO trilho.timeline (
    operation, kind, id, cause, via, name, key, at, ended_at, outcome, attempt, error, partition, "offset")
SELECT operation, kind, id, cause, via, name, key, now - ago * interval '1 second',
       now - (ago - took) * interval '1 second', outcome, attempt, error, partition, "offset"
FROM t, json_to_recordset(CAST(%(notes)s AS json)) AS r (
    operation text, kind text, id text, cause text, via text, name text, key text, ago double precision,
    took double precision, outcome text, attempt integer, error text, partition integer, "offset" bigint);

-- name: note_alone
WITH unhurried AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS set)
INSERT INTO trilho.timeline (operation, kind, id, name, at, ended_at, outcome)
SELECT %(operation)s, %(kind)s, %(id)s, %(name)s, clock_timestamp() - %(took)s * interval '1 second',
       clock_timestamp(), %(outcome)s
FROM unhurried WHERE set = 'off';
