-- The event side of Trilho. Read together with events/*.sql, which hold every transition.

-- What applications declare, or what the relay made for a topic that nobody declared.
CREATE TABLE trilho.topics (
    name       text COLLATE "C" PRIMARY KEY,
    identity   uuid        NOT NULL DEFAULT gen_random_uuid(),   -- a topic made anew has another one: offsets start anew
    partitions integer     NOT NULL CHECK (partitions > 0),
    retention  interval,                                         -- NULL: for ever
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One published event that the relay has not moved on. Written in the publisher's transaction, so positions commit in
-- any order; two events of which one was published after the other's commit keep their order.
CREATE TABLE trilho.outbox (
    shard        smallint    NOT NULL,                           -- lane of the relay: by hash of topic and key
    position     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    number       bigint,                                         -- given by the relay before Kafka sees the event
    hash         integer     NOT NULL,                           -- Kafka's hash of the key; the partition is this modulo their number
    topic        text COLLATE "C" NOT NULL,
    id           text        NOT NULL,
    key          bytea,
    type         text        NOT NULL,
    time         timestamptz NOT NULL,
    attributes   text        NOT NULL,                           -- the rest of the CloudEvents envelope, and headers
    data         bytea       NOT NULL,
    content_type text        NOT NULL,
    PRIMARY KEY (shard, position)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- One lane of the relay. The lease says who tries; the row lock says who may.
CREATE TABLE trilho.shards (
    shard       smallint PRIMARY KEY,
    owner       uuid,
    until       timestamptz NOT NULL DEFAULT '-infinity',
    token       bigint      NOT NULL DEFAULT 0,
    last_number bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO trilho.shards (shard) SELECT generate_series(0, 7);

-- The PostgreSQL log: offsets without gaps, for whoever appends holds the partition's row until its commit.
CREATE TABLE trilho.log_partitions (
    topic        text COLLATE "C" NOT NULL,
    partition    integer NOT NULL,
    first_offset bigint  NOT NULL DEFAULT 0,
    next_offset  bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
CREATE TABLE trilho.log (
    topic        text COLLATE "C" NOT NULL,
    partition    integer     NOT NULL,
    "offset"     bigint      NOT NULL,
    id           text        NOT NULL,
    key          bytea,
    type         text        NOT NULL,
    time         timestamptz NOT NULL,
    attributes   text        NOT NULL,
    data         bytea       NOT NULL,
    content_type text        NOT NULL,
    appended_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, "offset")
);

-- Progress of one group in one partition of one log. The generation is the fence: it grows with every new owner.
CREATE TABLE trilho.offsets (
    "group"     text COLLATE "C" NOT NULL,
    log         text COLLATE "C" NOT NULL,                       -- 'postgres:<topic identity>' or Kafka's cluster and topic
    topic       text COLLATE "C" NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    generation  bigint  NOT NULL DEFAULT 0,
    owner       uuid,                                            -- incarnation; a missing process counts as dead
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY ("group", log, topic, partition)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE TABLE trilho.group_members (
    "group"     text COLLATE "C" NOT NULL,
    incarnation uuid NOT NULL,
    joined_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY ("group", incarnation)
);

-- A key of a group's topic that waits because an event of it failed; the events of the key, in order.
CREATE TABLE trilho.parked_keys (
    "group"   text COLLATE "C" NOT NULL,
    topic     text COLLATE "C" NOT NULL,
    lane      text COLLATE "C" NOT NULL,                         -- the key as text; of an event without one, its offset
    partition integer     NOT NULL,
    attempts  integer     NOT NULL DEFAULT 1,
    error     text,
    next_try  timestamptz,                                       -- NULL: a person decides
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY ("group", topic, lane)
);
CREATE INDEX parked_keys_due ON trilho.parked_keys ("group", topic, partition, next_try);
CREATE TABLE trilho.parked_events (
    "group"      text COLLATE "C" NOT NULL,
    topic        text COLLATE "C" NOT NULL,
    lane         text COLLATE "C" NOT NULL,
    sequence     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    partition    integer     NOT NULL,
    "offset"     bigint      NOT NULL,
    id           text        NOT NULL,
    key          bytea,
    type         text        NOT NULL,
    time         timestamptz NOT NULL,
    attributes   text        NOT NULL,
    data         bytea       NOT NULL,
    content_type text        NOT NULL,
    PRIMARY KEY ("group", topic, lane, sequence)
);

-- An event that a group gave up on.
CREATE TABLE trilho.dead_letters (
    number       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "group"      text COLLATE "C" NOT NULL,
    topic        text COLLATE "C" NOT NULL,
    partition    integer     NOT NULL,
    "offset"     bigint      NOT NULL,
    id           text        NOT NULL,
    key          bytea,
    type         text        NOT NULL,
    time         timestamptz NOT NULL,
    attributes   text        NOT NULL,
    data         bytea       NOT NULL,
    content_type text        NOT NULL,
    attempts     integer     NOT NULL,
    error        text        NOT NULL,
    died_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at   timestamptz,
    settled_as   text CHECK (settled_as IN ('replayed', 'discarded')),
    CONSTRAINT settled_fits CHECK ((settled_at IS NULL) = (settled_as IS NULL))
);
CREATE INDEX dead_letters_open ON trilho.dead_letters ("group", number) WHERE settled_at IS NULL;
