-- name: grown
-- Tables that may be analysed by us, and in which several times as many rows were changed as they had when they were.
SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = 'trilho' AND s.n_mod_since_analyze > greatest(%(least)s, %(growth)s * c.reltuples)
  AND pg_has_role(c.relowner, 'USAGE') ORDER BY s.relname;
