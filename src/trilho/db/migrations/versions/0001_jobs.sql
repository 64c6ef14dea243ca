-- The job side of Trilho. Read together with jobs/*.sql, which hold every transition.

CREATE TABLE trilho.jobs (
    id           varchar(255) COLLATE "C" PRIMARY KEY,
    task         text        NOT NULL,
    queue        text        NOT NULL,
    priority     smallint    NOT NULL DEFAULT 0,
    state        text        NOT NULL DEFAULT 'PENDING',
    -- A held row has its id handed out already but not its turn (later links of a chain, chord bodies).
    held         boolean     NOT NULL DEFAULT false,

    args         text        NOT NULL DEFAULT '[]',
    kwargs       text        NOT NULL DEFAULT '{}',
    canvas       text,                                   -- callbacks, errbacks, chain, chord, as Celery's message body
    headers      text        NOT NULL DEFAULT '{}',      -- what else Celery's message carries
    run_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,

    attempt      integer     NOT NULL DEFAULT 0,         -- executions begun, whatever became of them
    retries      integer     NOT NULL DEFAULT 0,         -- Celery's request.retries
    max_retries  integer,                                -- NULL: without end
    crash_count  integer     NOT NULL DEFAULT 0,
    max_crashes  integer,                                -- NULL: the setting decides

    -- The fence: a write of an attempt counts only while the row still bears its token. It stays on finished rows,
    -- so that a finish whose answer got lost can see that it happened.
    claim_token  uuid,
    worker       uuid,                                   -- incarnation; no foreign key: a missing process counts as dead
    worker_name  text,
    -- Claimed together with others: should its process die unseen, nobody knows under which of them. It stays on the row
    -- then, and the job is claimed alone.
    suspect      boolean     NOT NULL DEFAULT false,

    -- When the last wake-up was handed to the broker; NULL: the dispatcher has to.
    sent_at      timestamptz,
    sends        integer     NOT NULL DEFAULT 0,

    cancel_requested_at timestamptz,
    awaited      boolean     NOT NULL DEFAULT false,     -- somebody waits: announce the end
    custom_state text,                                   -- the name that update_state() gave to PROCESSING
    progress     text,
    result       text,
    error        text,
    traceback    text,
    children     text,
    root_id      text,
    parent_id    text,
    group_id     text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at   timestamptz,
    finished_at  timestamptz,

    -- What each state means for the row. One constraint, for PostgreSQL reads each anew in every statement.
    CONSTRAINT state_fits CHECK (CASE
        WHEN state = 'PENDING' THEN finished_at IS NULL
        WHEN state = 'RETRY' THEN finished_at IS NULL AND NOT held
        WHEN state IN ('STARTED', 'PROCESSING') THEN
            finished_at IS NULL AND NOT held AND claim_token IS NOT NULL AND worker IS NOT NULL
        WHEN state IN ('SUCCESS', 'FAILURE', 'REVOKED') THEN finished_at IS NOT NULL AND NOT held
        ELSE false END)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05);

-- Partial over live states: nothing is paid for finished rows.
CREATE INDEX jobs_sent ON trilho.jobs (queue, sent_at)
    WHERE state IN ('PENDING', 'RETRY') AND NOT held AND sent_at IS NOT NULL;
CREATE INDEX jobs_unsent ON trilho.jobs (queue, task, run_at)   -- by task: rows that nobody here knows are never read
    WHERE state IN ('PENDING', 'RETRY') AND NOT held AND sent_at IS NULL;
CREATE INDEX jobs_running ON trilho.jobs (worker) WHERE state IN ('STARTED', 'PROCESSING');
CREATE INDEX jobs_failed ON trilho.jobs (finished_at) WHERE state = 'FAILURE';
CREATE INDEX jobs_expiring ON trilho.jobs (expires_at)
    WHERE state IN ('PENDING', 'RETRY') AND expires_at IS NOT NULL;
-- Retention finds UUIDv7 by age in the primary key; only ids that somebody else chose need this.
CREATE INDEX jobs_other_ids ON trilho.jobs (created_at, id) WHERE left(id, 15) NOT LIKE '0_______-____-7';

-- One finished attempt that was not a plain success.
CREATE TABLE trilho.job_attempts (
    job_id      text COLLATE "C" NOT NULL,
    number      integer     NOT NULL,
    outcome     text        NOT NULL CHECK (outcome IN ('FAILURE', 'RETRY', 'REVOKED', 'LOST', 'RELEASED')),
    crash       boolean     NOT NULL DEFAULT false,      -- counted in crash_count
    presumed    boolean     NOT NULL DEFAULT false,      -- nobody saw the process die: its lease ran out
    error       text,
    traceback   text,
    worker      uuid,
    worker_name text,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, number)
);
CREATE INDEX job_attempts_presumed ON trilho.job_attempts (worker) WHERE crash AND presumed;

-- The keys of unique jobs. Who took a key last holds it, for as long as the job's state, or the time, says so: whoever
-- asks looks at the row of that job, so that a claim and a finish write nothing here, and nobody changes the row of
-- another job. That two do not take the same key is the business of the locks of `may_decide`.
CREATE TABLE trilho.job_keys (
    job_id     varchar(255) COLLATE "C" PRIMARY KEY,
    key        varchar(255) COLLATE "C" NOT NULL,
    turn       bigint,                                   -- the order of taking; NULL: never had it
    contends   boolean     NOT NULL DEFAULT false,       -- its held job waits for the dispatcher to decide
    until      text        NOT NULL CHECK (until IN ('started', 'finished')),
    expires_at timestamptz                               -- held until then, whatever becomes of the job
);
CREATE INDEX job_keys_turns ON trilho.job_keys (key, turn) WHERE turn IS NOT NULL;
CREATE INDEX job_keys_contended ON trilho.job_keys (key, job_id) WHERE contends;
CREATE SEQUENCE trilho.job_turns;

-- Whether this transaction may decide who gets a key; never waits. False: another open transaction decides about it, or
-- this one looks at an old snapshot. Beyond the room that PostgreSQL has for the locks of one transaction, a lock of
-- a whole sixty-fourth of all keys stands in; who locks a single key shares that of its part.
CREATE FUNCTION trilho.may_decide(wanted text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    hash  constant bigint  := hashtextextended(wanted, 0);
    parts constant integer := 1953655144;
    part  constant integer := hash & 63;
    taken constant integer := coalesce(nullif(current_setting('trilho.keys_locked', true), ''), '0');
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN false;
    ELSIF taken >= current_setting('max_locks_per_transaction')::integer / 2 THEN
        RETURN pg_try_advisory_xact_lock(parts, part);
    ELSIF pg_try_advisory_xact_lock_shared(parts, part) AND pg_try_advisory_xact_lock(hash) THEN
        PERFORM set_config('trilho.keys_locked', (taken + 1)::text, true);
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- The job that holds a key now, as far as this snapshot knows.
CREATE FUNCTION trilho.holder_of(wanted text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT k.job_id
    FROM (SELECT * FROM trilho.job_keys WHERE key = wanted AND turn IS NOT NULL ORDER BY turn DESC LIMIT 1) k
    JOIN trilho.jobs j ON j.id = k.job_id
    WHERE CASE WHEN k.expires_at IS NOT NULL THEN k.expires_at > clock_timestamp()
               WHEN k.until = 'started' THEN j.state = 'PENDING'
               ELSE j.finished_at IS NULL END
$$;

-- Who would come next: a job that is not decided about yet stands for those that come after it.
CREATE FUNCTION trilho.contender_of(wanted text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT k.job_id FROM trilho.job_keys k JOIN trilho.jobs j ON j.id = k.job_id
    WHERE k.key = wanted AND k.contends AND j.held
    ORDER BY k.job_id LIMIT 1
$$;

-- Of each new job: the job that its call gets, and whether it contends. VOLATILE, so that what is looked at under the
-- lock is what was committed before the lock was had.
CREATE FUNCTION trilho.take_keys(wanted json)
RETURNS TABLE (asked text, given text, contending boolean) LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM json_to_recordset(wanted) AS w (id text, key text, until text, within double precision) LOOP
        asked := r.id;
        contending := false;
        SELECT job_id, contends INTO given, contending FROM trilho.job_keys WHERE job_id = r.id;  -- asked before
        IF NOT FOUND THEN
            contending := false;
            given := coalesce(trilho.holder_of(r.key), trilho.contender_of(r.key));
            IF given IS NULL THEN
                contending := NOT trilho.may_decide(r.key);
                IF NOT contending THEN
                    given := coalesce(trilho.holder_of(r.key), trilho.contender_of(r.key));
                END IF;
            END IF;
            IF given IS NULL THEN
                given := r.id;
                INSERT INTO trilho.job_keys (job_id, key, turn, contends, until, expires_at)
                VALUES (r.id, r.key, CASE WHEN NOT contending THEN nextval('trilho.job_turns') END, contending,
                        r.until, clock_timestamp() + r.within * interval '1 second');
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A finished job that is to run again needs its key again: NULL, or the other job that has it. Contends in doubt.
CREATE FUNCTION trilho.take_key_again(again text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    known  trilho.job_keys;
    other  text;
    decide boolean;
BEGIN
    SELECT * INTO known FROM trilho.job_keys WHERE job_id = again;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    decide := trilho.may_decide(known.key);
    other := coalesce(trilho.holder_of(known.key), trilho.contender_of(known.key));
    IF other <> again THEN
        RETURN other;
    ELSIF decide THEN
        UPDATE trilho.job_keys SET contends = false, turn = nextval('trilho.job_turns') WHERE job_id = again;
    ELSE
        UPDATE trilho.job_keys SET contends = true, turn = NULL WHERE job_id = again;
        UPDATE trilho.jobs SET held = true WHERE id = again;
    END IF;
    RETURN NULL;
END $$;

-- Decides about some contenders: each takes its key and gets its turn, or is the duplicate of another job, or stays as
-- long as an open transaction has the lock of its key.
CREATE FUNCTION trilho.decide(after_key text, after_id text, most integer)
RETURNS TABLE (wanted text, contender text, decided boolean, duplicate_of text) LANGUAGE plpgsql AS $$
BEGIN
    FOR wanted, contender IN
        SELECT key, job_id FROM trilho.job_keys WHERE contends AND (key, job_id) > (after_key, after_id)
        ORDER BY key, job_id LIMIT most
    LOOP
        duplicate_of := NULL;
        decided := trilho.may_decide(wanted);
        IF decided THEN
            duplicate_of := trilho.holder_of(wanted);
            IF NOT EXISTS (SELECT FROM trilho.jobs WHERE id = contender AND held) THEN  -- ended meanwhile
                duplicate_of := NULL;
                UPDATE trilho.job_keys SET contends = false WHERE job_id = contender;
            ELSIF duplicate_of IS NULL THEN
                UPDATE trilho.jobs SET held = false, sent_at = NULL WHERE id = contender AND held;
                UPDATE trilho.job_keys SET contends = false, turn = nextval('trilho.job_turns') WHERE job_id = contender;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- Canvas: the members of a saved group; the fan-in of a chord.
CREATE TABLE trilho.job_groups (
    id         text COLLATE "C" PRIMARY KEY,
    result     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE trilho.chords (
    id         text COLLATE "C" PRIMARY KEY,
    size       integer,
    returned   integer     NOT NULL DEFAULT 0,
    body       text,
    body_id    text COLLATE "C",                         -- the first of the jobs that the body is
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX job_groups_created ON trilho.job_groups (created_at);
CREATE INDEX chords_created ON trilho.chords (created_at);
CREATE TABLE trilho.chord_parts (
    chord_id text COLLATE "C" NOT NULL,
    job_id   text COLLATE "C" NOT NULL,
    position integer,
    state    text NOT NULL,
    result   text,
    PRIMARY KEY (chord_id, job_id)
);

-- One live process incarnation: a new id at every start, and whenever a process outlived its own lease.
CREATE TABLE trilho.processes (
    incarnation   uuid PRIMARY KEY,
    kind          text        NOT NULL,
    name          text        NOT NULL,
    hostname      text        NOT NULL,
    pid           integer     NOT NULL,
    pool          text,
    concurrency   integer,
    queues        text[]      NOT NULL DEFAULT '{}',
    tasks         text[]      NOT NULL DEFAULT '{}',
    version       text        NOT NULL,
    state         text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'stopping', 'stopped', 'lost')),
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease         interval    NOT NULL,
    last_progress timestamptz,
    running       integer     NOT NULL DEFAULT 0,
    processed     bigint      NOT NULL DEFAULT 0,
    dropped       bigint      NOT NULL DEFAULT 0,         -- wake-ups of rows that were not waiting
    finished      jsonb       NOT NULL DEFAULT '{}'       -- jobs finished so far, by queue
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- What only one process may do at a time, and who does it until when.
CREATE TABLE trilho.duties (
    name  text PRIMARY KEY,
    owner uuid        NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Since when this PostgreSQL has been up as it is: nothing is recovered until one lease after a start or a promotion.
CREATE TABLE trilho.server_epoch (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch text        NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every wake-up sent to this queue and priority before `settled` was received more than a grace ago.
CREATE TABLE trilho.queue_marks (
    queue    text     NOT NULL,
    priority smallint NOT NULL,
    settled  timestamptz NOT NULL,
    PRIMARY KEY (queue, priority)
) WITH (fillfactor = 50);

-- Depths, written by one elected dispatcher; statistics read these and count nothing.
CREATE TABLE trilho.samples (
    queue     text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    waiting   bigint      NOT NULL,
    scheduled bigint      NOT NULL,
    running   bigint      NOT NULL,
    oldest_at timestamptz,
    finished  bigint      NOT NULL,
    PRIMARY KEY (queue, at)
);
