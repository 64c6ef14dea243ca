-- Jobs that share a claim. Read together with jobs/jobs.sql.

-- Claimed together with others: should its process die unseen, nobody knows under which of them. It stays on the row
-- then, and the job is claimed alone.
ALTER TABLE trilho.jobs ADD COLUMN suspect boolean NOT NULL DEFAULT false;
