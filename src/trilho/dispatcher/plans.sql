-- name: grown
-- Tables that may be analysed by us, and that have several times the rows or the pages they had when they were. Rows that
-- come and go do not count: an outbox is written anew every second, and is as small as before.
SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = 'trilho' AND pg_has_role(c.relowner, 'USAGE')
  AND (s.n_live_tup > greatest(%(rows)s, %(growth)s * c.reltuples)
    OR pg_relation_size(c.oid) > greatest(%(bytes)s, %(growth)s * c.relpages * current_setting('block_size')::bigint))
ORDER BY s.relname;
