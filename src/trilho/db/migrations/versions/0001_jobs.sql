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
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
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
