"""Event streams: an outbox in the caller's transaction, a relay, a log, consumer groups whose effects count once."""
