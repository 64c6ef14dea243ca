-- What a member of a group subscribes to: while a new version of an application is rolled out, its members differ, and
-- nobody may be dealt a partition that he does not read.
ALTER TABLE trilho.group_members ADD COLUMN topics text[];       -- NULL: all that the group reads
