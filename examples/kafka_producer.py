"""A program that knows nothing of Trilho: kafka-python sends orders to the topic that the shop uses.

    python kafka_producer.py 41 42 43       # the ids of the orders

The broker is on localhost:9092, where `make up KAFKA=1` and `docker compose up` have it, or where
TRILHO_KAFKA_BOOTSTRAP says.
"""

import json
import os
import sys
import time

from kafka import KafkaProducer

producer = KafkaProducer(
    bootstrap_servers=[os.environ.get("TRILHO_KAFKA_BOOTSTRAP", "localhost:9092")],
    value_serializer=lambda value: json.dumps(value).encode("utf-8"),
)


def enviar_pedido(order_id, user_id, total):
    pedido = {"order_id": order_id, "user_id": user_id, "total": total, "timestamp": time.time()}
    return producer.send("orders", pedido)


if __name__ == "__main__":
    for envio in [enviar_pedido(int(numero), user_id=7, total=99.9) for numero in sys.argv[1:]]:
        lugar = envio.get(timeout=10)  # raises if the broker did not take it
        print(f"partition {lugar.partition}, offset {lugar.offset}")
    producer.close()
