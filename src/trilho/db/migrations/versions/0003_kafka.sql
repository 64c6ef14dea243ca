-- The relay into Apache Kafka. Read together with events/kafka/relay.sql, which holds every transition.

-- The name of this database in Kafka. The row is made by the first relay, not here: databases that are copied from one
-- that was only migrated must not fence each other.
CREATE TABLE trilho.installation (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    identity uuid NOT NULL DEFAULT gen_random_uuid()
);

-- The one batch of a lane that is on its way: written before Kafka sees any of it, emptied when its fate is known.
-- last_number is its number, and Kafka keeps the number of the last batch that is out.
ALTER TABLE trilho.shards
    ADD COLUMN batch bigint[],                                   -- positions in the outbox, in order
    ADD COLUMN cluster text,                                     -- the cluster that this batch was meant for
    ADD CONSTRAINT batch_is_for_a_cluster CHECK (batch IS NULL OR (cardinality(batch) > 0 AND cluster IS NOT NULL));

-- Numbers belong to batches: a number in each row would write every event twice.
ALTER TABLE trilho.outbox DROP COLUMN number;
