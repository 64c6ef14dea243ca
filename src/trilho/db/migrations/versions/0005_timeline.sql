-- What happened in each operation: read together with timeline/timeline.sql. Rows are written once and never changed.

CREATE TABLE trilho.timeline (
    operation text COLLATE "C" NOT NULL,                 -- correlation id
    number    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind      text        NOT NULL CHECK (kind IN ('request', 'job', 'event', 'handling', 'saga')),
    id        text COLLATE "C" NOT NULL,                 -- of the request, job, event or saga; of a handling that of its event
    cause     text,                                      -- id of the request, job, event or saga that brought it about
    via       text,                                      -- consumer group: of a handling its own, else that of the cause
    name      text        NOT NULL,                      -- method and path; task; topic; saga
    key       text COLLATE "C",                          -- of an event
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at  timestamptz,
    outcome   text,                                      -- HTTP status; done, retry, queued, parked, dead_letter
    attempt   integer,
    error     text,
    partition integer,                                   -- where a handled event stands in its log
    "offset"  bigint,
    PRIMARY KEY (operation, number)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.2);
CREATE INDEX timeline_age ON trilho.timeline (at);                                     -- retention
CREATE INDEX timeline_events ON trilho.timeline (id) WHERE kind = 'event';
CREATE INDEX timeline_keys ON trilho.timeline (key, number) WHERE key IS NOT NULL;     -- an order by its id

-- A run keeps the job of its present stretch only; the others are told apart here.
CREATE FUNCTION trilho.note_stretch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO trilho.timeline (operation, kind, id, cause, name)
    VALUES (left(NEW.correlation_id, 255), 'job', NEW.stretch, NEW.id, left('trilho.saga.' || NEW.name, 255));
    RETURN NULL;
END $$;
CREATE TRIGGER first_stretch AFTER INSERT ON trilho.sagas FOR EACH ROW
    WHEN (NEW.stretch IS NOT NULL) EXECUTE FUNCTION trilho.note_stretch();
CREATE TRIGGER next_stretch AFTER UPDATE OF stretch ON trilho.sagas FOR EACH ROW
    WHEN (NEW.stretch IS NOT NULL AND NEW.stretch IS DISTINCT FROM OLD.stretch) EXECUTE FUNCTION trilho.note_stretch();
