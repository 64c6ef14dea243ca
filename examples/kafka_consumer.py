"""A program that knows nothing of Trilho: kafka-python reads orders, works, and only then commits its offset.

Killed between the two, it does its work again. A handler of Trilho (`@app.bus.subscribe`) does not: its effects and its
offset are one commit. In a group of its own this program sees every order; in one that Trilho's consumers are in, as
here, it takes partitions away from them, and they go on from their own offsets when it has left.

The broker is on localhost:9092, where `make up KAFKA=1` and `docker compose up` have it, or where
TRILHO_KAFKA_BOOTSTRAP says.
"""

import json
import os

from kafka import KafkaConsumer

consumer = KafkaConsumer(
    "orders",
    bootstrap_servers=[os.environ.get("TRILHO_KAFKA_BOOTSTRAP", "localhost:9092")],
    group_id="inventory-service",
    value_deserializer=lambda value: json.loads(value.decode("utf-8")),
    enable_auto_commit=False,
    auto_offset_reset="earliest",
    isolation_level="read_committed",  # without it, events of a relay that was killed may be seen twice
)


def reservar_estoque(pedido):
    with open("reservas.txt", "a") as reservas:
        reservas.write(f"{pedido['order_id']}\n")
    print(f"order {pedido['order_id']}: {pedido['total']:.2f}", flush=True)


if __name__ == "__main__":
    try:
        for mensagem in consumer:
            reservar_estoque(mensagem.value)
            consumer.commit()
    finally:
        consumer.close()
