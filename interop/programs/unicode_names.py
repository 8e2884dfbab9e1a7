"""Names that are not ASCII, or as long as names may be: queues, exchanges, keys, consumer tags, headers."""

from typing import Any

import pika

from interop.blocking import connect, refusal, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

NAMES = [
    "interop.очередь",
    "interop.队列 with spaces",
    "interop.🐇=*#?'\"\\<>&",
    "interop." + "ü" * 123,  # 254 octets
    "interop.a/b|c;d%20e",
    "interop.tab\tand\x01control",
]
EXCHANGE = "interop.обмен"


def round_trip(connection: pika.BlockingConnection, name: str) -> Json:
    """Use the name for a queue, a routing key and a consumer tag, and read it back from every answer."""
    channel = connection.channel()
    declared = channel.queue_declare(name).method.queue
    channel.queue_bind(name, EXCHANGE, name)
    properties = pika.BasicProperties(headers={name: name}, message_id=name, correlation_id=name)
    channel.basic_publish(EXCHANGE, name, name.encode(), properties)
    channel.basic_publish(EXCHANGE, name, name.encode(), properties)
    method, got, body = channel.basic_get(name, auto_ack=True)
    delivered: list[Any] = []

    def on_message(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        delivered.append([method.consumer_tag, method.exchange, method.routing_key, properties.headers, body.decode()])

    tag = channel.basic_consume(name, on_message, consumer_tag=name)
    wait_until(connection, lambda: bool(delivered))
    channel.basic_cancel(tag)
    return {
        "declared": declared == name,
        "got": [method.exchange == EXCHANGE, method.routing_key == name, got.headers == {name: name}],
        "ids": [got.message_id == name, got.correlation_id == name, body.decode() == name],
        "delivered": delivered == [[name, EXCHANGE, name, {name: name}, name]],
        "returned": returned(connection, name),
    }


def returned(connection: pika.BlockingConnection, key: str) -> bool:
    channel = connection.channel()
    seen: list[Any] = []
    channel.add_on_return_callback(lambda _c, method, _p, _b: seen.append([method.exchange, method.routing_key]))
    channel.basic_publish(EXCHANGE, key + "!", b"x", mandatory=True)
    wait_until(connection, lambda: bool(seen))
    return seen == [[EXCHANGE, key + "!"]]


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=NAMES, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic")
        seen: dict[str, Json] = {name: round_trip(connection, name) for name in NAMES}
        missing = refusal(lambda: connection.channel().queue_declare("interop.нет", passive=True))
        seen["in an error"] = missing
        return seen


_SAME: Json = {
    "declared": True,
    "got": [True, True, True],
    "ids": [True, True, True],
    "delivered": True,
    "returned": True,
}
EXPECTED: Json = {
    **dict.fromkeys(NAMES, _SAME),
    "in an error": ["channel", 404, "NOT_FOUND - no queue 'interop.нет' in vhost '/'"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
