-- Sagas. Read together with sagas/*.sql, which hold every transition.

-- One run of a saga function. A stretch of it is one job; a suspended run has none.
CREATE TABLE trilho.sagas (
    id             text COLLATE "C" PRIMARY KEY,
    name           text        NOT NULL,
    version        integer     NOT NULL,                 -- of the code that started it
    state          text        NOT NULL DEFAULT 'RUNNING',
    queue          text        NOT NULL,
    args           text        NOT NULL,                 -- JSON, by parameter
    result         text,
    verdict        text CHECK (verdict IN ('failed', 'cancelled', 'timed out', 'called off')),  -- why it is undone
    error          text,                                 -- one line about the verdict
    failure        text,                                 -- the exception, as JSON
    stuck          text,                                 -- why a person has to decide
    wakes          bigint      NOT NULL DEFAULT 0,       -- grows with whatever a suspended run may wait for
    stretch        text COLLATE "C",                     -- the job that runs the next stretch, or runs it now
    wake_at        timestamptz,                          -- the first timer of a suspended run
    deadline       timestamptz,
    cancel_requested_at timestamptz,
    awaited        boolean     NOT NULL DEFAULT false,   -- somebody waits: announce the end
    topics         text[]      NOT NULL DEFAULT '{}',    -- of events that it may wait for
    listens_from   timestamptz NOT NULL,                 -- earlier events are none of its own
    parent_id      text COLLATE "C",
    parent_path    text COLLATE "C",
    correlation_id text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at    timestamptz,

    CONSTRAINT state_fits CHECK (CASE state
        WHEN 'RUNNING'      THEN finished_at IS NULL AND stretch IS NOT NULL AND verdict IS NULL
        WHEN 'WAITING'      THEN finished_at IS NULL AND stretch IS NULL AND verdict IS NULL
        WHEN 'COMPENSATING' THEN finished_at IS NULL AND verdict IS NOT NULL
        WHEN 'STUCK'        THEN finished_at IS NULL AND stretch IS NULL AND stuck IS NOT NULL
        WHEN 'COMPLETED'    THEN finished_at IS NOT NULL AND stretch IS NULL AND verdict IS NULL
        WHEN 'COMPENSATED'  THEN finished_at IS NOT NULL AND stretch IS NULL AND verdict IS NOT NULL
        ELSE false END)
) WITH (fillfactor = 70);
CREATE INDEX sagas_timers ON trilho.sagas (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX sagas_stretch ON trilho.sagas (stretch) WHERE stretch IS NOT NULL;
CREATE INDEX sagas_live ON trilho.sagas (listens_from) WHERE finished_at IS NULL;
CREATE INDEX sagas_newest ON trilho.sagas (created_at, id);
CREATE INDEX sagas_by_state ON trilho.sagas (state, created_at, id);
CREATE INDEX sagas_parent ON trilho.sagas (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX sagas_operation ON trilho.sagas (correlation_id);
CREATE INDEX sagas_finished ON trilho.sagas (finished_at, id) WHERE finished_at IS NOT NULL;  -- retention

-- One recorded step, undo, wait, timer or marker. Its path is its place in the code: a number, in branches of a gather
-- several, and that of an undo ends with ':undo'.
CREATE TABLE trilho.saga_steps (
    saga_id    text COLLATE "C" NOT NULL,
    path       text COLLATE "C" NOT NULL,
    kind       text        NOT NULL CHECK (kind IN (
                   'step', 'undo', 'call', 'sleep', 'event', 'signal', 'now', 'uuid', 'patch')),
    name       text        NOT NULL,
    state      text        NOT NULL,
    attempt    integer     NOT NULL DEFAULT 1,
    job_id     text COLLATE "C",                         -- of a step that is a task: its latest attempt
    child_id   text COLLATE "C",                         -- of a call: the other run
    atomic     boolean     NOT NULL DEFAULT true,        -- nothing is left of an attempt that failed
    args       text        NOT NULL DEFAULT '[]',
    undo       text,                                     -- name of what undoes it
    result     text,
    error      text,
    failure    text,                                     -- the exception, as JSON
    key        bytea,                                    -- of an event that is waited for
    mail       bigint,                                   -- the signal or event that was taken
    due_at     timestamptz,                              -- end of a sleep or a wait; next attempt; limit of a step's time
    timed_out  boolean     NOT NULL DEFAULT false,       -- its time was over before it ended
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    PRIMARY KEY (saga_id, path),

    -- WAITING: begun, not ended. RETRY: an attempt failed, another one may come. SKIPPED: a person gave the result.
    -- CANCELLED: nobody waits for it any more.
    CONSTRAINT state_fits CHECK (CASE
        WHEN state IN ('WAITING', 'RETRY') THEN ended_at IS NULL
        WHEN state IN ('DONE', 'FAILED', 'SKIPPED', 'CANCELLED') THEN ended_at IS NOT NULL
        ELSE false END)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX saga_steps_job ON trilho.saga_steps (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX saga_steps_waiters ON trilho.saga_steps (name, key) WHERE kind = 'event' AND state = 'WAITING';

-- One signal kept for a run, or one event kept for whichever runs may wait for it.
CREATE TABLE trilho.saga_mail (
    number     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id    text COLLATE "C",                         -- NULL: an event
    name       text COLLATE "C" NOT NULL,                -- of the signal; topic of the event
    key        bytea,
    message_id text COLLATE "C" NOT NULL,                -- the same message twice is one
    data       text        NOT NULL,
    time       timestamptz NOT NULL DEFAULT clock_timestamp(),
    kept_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX saga_mail_signals ON trilho.saga_mail (saga_id, name, message_id) WHERE saga_id IS NOT NULL;
CREATE UNIQUE INDEX saga_mail_events ON trilho.saga_mail (name, message_id) WHERE saga_id IS NULL;
CREATE INDEX saga_mail_age ON trilho.saga_mail (kept_at, number) WHERE saga_id IS NULL;         -- retention
CREATE INDEX saga_mail_lanes ON trilho.saga_mail (name, key, number) WHERE saga_id IS NULL;

-- A UUIDv7: retention finds jobs in the order of their age by it.
CREATE FUNCTION trilho.new_id() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || substr(gen_random_uuid()::text, 16)
    FROM (SELECT lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') AS ms) now
$$;

-- The job of a run's next stretch.
CREATE FUNCTION trilho.enqueue_stretch(saga trilho.sagas) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO trilho.jobs (id, task, queue, args, headers, sent_at, sends, max_retries, root_id, parent_id)
    VALUES (saga.stretch, 'trilho.saga.' || saga.name, saga.queue, json_build_array(saga.id)::text,
            json_build_object('properties', json_build_object(), 'trilho_saga', saga.id,
                              'trilho_trace', json_build_object('correlation_id', saga.correlation_id))::text,
            clock_timestamp(), 1, 0, saga.correlation_id, saga.id)
$$;

-- Runs that may go on: whoever suspends at the same time sees that `wakes` has grown, and goes on. Runs that have no
-- stretch get one. Locked in order; finished and stuck runs are left alone. Returns the stretches that were enqueued.
CREATE FUNCTION trilho.wake_sagas(ids text[]) RETURNS SETOF trilho.sagas LANGUAGE plpgsql AS $$
DECLARE
    saga trilho.sagas;
    had  text;
BEGIN
    FOR saga IN SELECT * FROM trilho.sagas
                WHERE id = ANY(ids) AND state IN ('RUNNING', 'WAITING', 'COMPENSATING') ORDER BY id FOR NO KEY UPDATE LOOP
        had := saga.stretch;
        UPDATE trilho.sagas s SET
            wakes = wakes + 1, wake_at = NULL, stretch = coalesce(stretch, trilho.new_id()),
            state = CASE WHEN s.state = 'WAITING' THEN 'RUNNING' ELSE s.state END
        WHERE s.id = saga.id RETURNING * INTO saga;
        IF had IS NULL THEN
            PERFORM trilho.enqueue_stretch(saga);
            RETURN NEXT saga;
        END IF;
    END LOOP;
END $$;

-- The end of a run wakes its caller, which is a wait like any other.
CREATE FUNCTION trilho.end_call(ended text) RETURNS SETOF trilho.sagas LANGUAGE plpgsql AS $$
DECLARE
    callers text[];
BEGIN
    WITH noted AS (
        UPDATE trilho.saga_steps c SET
            state = CASE WHEN s.state = 'COMPLETED' THEN 'DONE' ELSE 'FAILED' END,
            result = s.result, error = s.error, failure = s.failure, ended_at = clock_timestamp()
        FROM trilho.sagas s
        WHERE s.id = ended AND c.saga_id = s.parent_id AND c.path = s.parent_path AND c.state = 'WAITING'
          AND c.child_id = s.id
        RETURNING c.saga_id)
    SELECT array_agg(saga_id) INTO callers FROM (
        SELECT saga_id FROM noted UNION SELECT parent_id FROM trilho.sagas WHERE id = ended AND parent_id IS NOT NULL) n;
    RETURN QUERY SELECT * FROM trilho.wake_sagas(callers);
END $$;

-- A signal for a run; the same message twice is one. Its state is NULL where there is no such run; a finished run takes
-- none. The stretch is NULL where none was enqueued.
CREATE FUNCTION trilho.signal_saga(saga text, signal text, message text, content text)
RETURNS TABLE (known_state text, saga_name text, saga_queue text, job text, operation text) LANGUAGE plpgsql AS $$
DECLARE
    woken trilho.sagas;
BEGIN
    SELECT s.state INTO known_state FROM trilho.sagas s WHERE s.id = saga FOR NO KEY UPDATE;
    IF known_state NOT IN ('COMPLETED', 'COMPENSATED') THEN
        INSERT INTO trilho.saga_mail (saga_id, name, message_id, data) VALUES (saga, signal, message, content)
        ON CONFLICT DO NOTHING;
        SELECT * INTO woken FROM trilho.wake_sagas(ARRAY[saga]);
        saga_name := woken.name; saga_queue := woken.queue; job := woken.stretch; operation := woken.correlation_id;
    END IF;
    RETURN NEXT;
END $$;
