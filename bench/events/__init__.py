"""Events: Trilho on both logs beside a raw loop of confluent-kafka and beside FastStream."""
