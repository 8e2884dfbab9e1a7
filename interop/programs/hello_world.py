"""Tutorial 1: one producer, one queue, one consumer."""

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.hello"


def send(url: str) -> list[Json]:
    with connect(url) as connection:
        channel = connection.channel()
        declared = channel.queue_declare(QUEUE).method
        channel.basic_publish(exchange="", routing_key=QUEUE, body=b"Hello World!")
    return [declared.queue, declared.message_count, declared.consumer_count]


def receive(url: str) -> Json:
    received: list[Json] = []
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)

        def on_message(channel, method, properties, body):  # type: ignore[no-untyped-def]
            received.append(
                {
                    "body": body.decode(),
                    "exchange": method.exchange,
                    "routing_key": method.routing_key,
                    "delivery_tag": method.delivery_tag,
                    "redelivered": method.redelivered,
                    "own_consumer_tag": method.consumer_tag == tag,
                }
            )
            channel.stop_consuming()

        tag = channel.basic_consume(QUEUE, on_message, auto_ack=True)
        channel.start_consuming()
    return received


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]):
        return {"declared": send(broker.url), "received": receive(broker.url)}


EXPECTED: Json = {
    "declared": [QUEUE, 0, 0],
    "received": [
        {
            "body": "Hello World!",
            "exchange": "",
            "routing_key": QUEUE,
            "delivery_tag": 1,
            "redelivered": False,
            "own_consumer_tag": True,
        }
    ],
}

if __name__ == "__main__":
    main(run, EXPECTED)
