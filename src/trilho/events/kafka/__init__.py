"""Events on Apache Kafka. Only what is in here imports confluent_kafka, an optional extra."""
