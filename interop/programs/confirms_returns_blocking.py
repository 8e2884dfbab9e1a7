"""Mandatory publishes with pika's BlockingConnection, with and without publisher confirms."""

from typing import Any

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from interop.blocking import connect, drain, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.mandatory"
PROPERTIES = pika.BasicProperties(content_type="text/plain", message_id="m1", headers={"n": 1})


def confirmed(channel: BlockingChannel) -> Json:
    """In confirm mode pika raises for a message that came back."""
    channel.confirm_delivery()
    channel.basic_publish("", QUEUE, b"routed", PROPERTIES, mandatory=True)
    channel.basic_publish("amq.direct", "interop.nowhere", b"dropped in silence", PROPERTIES)
    try:
        channel.basic_publish("amq.direct", "interop.nowhere", b"comes back", PROPERTIES, mandatory=True)
    except pika.exceptions.UnroutableError as error:
        returned: Json = [_described(m.method, m.properties, m.body) for m in error.messages]
    else:
        returned = "no return"
    return {"returned": returned, "queued": list(drain(channel, QUEUE))}


def unconfirmed(connection: pika.BlockingConnection) -> Json:
    """Without confirms the returned message reaches a callback."""
    channel = connection.channel()
    returned: list[Json] = []

    def on_return(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        returned.append(_described(method, properties, body))

    channel.add_on_return_callback(on_return)
    for number in range(3):
        channel.basic_publish("", "interop.nowhere", f"lost {number}".encode(), PROPERTIES, mandatory=True)
    wait_until(connection, lambda: len(returned) == 3)
    return returned


def _described(method: Any, properties: Any, body: bytes) -> Json:
    return {
        "reply": [method.reply_code, method.reply_text],
        "to": [method.exchange, method.routing_key],
        "properties": [properties.content_type, properties.message_id, properties.headers],
        "body": body.decode(),
    }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        return {"confirmed": confirmed(channel), "unconfirmed": unconfirmed(connection)}


def _expected_return(exchange: str, body: str) -> Json:
    return {
        "reply": [312, "NO_ROUTE"],
        "to": [exchange, "interop.nowhere"],
        "properties": ["text/plain", "m1", {"n": 1}],
        "body": body,
    }


EXPECTED: Json = {
    "confirmed": {"returned": [_expected_return("amq.direct", "comes back")], "queued": ["routed"]},
    "unconfirmed": [_expected_return("", f"lost {number}") for number in range(3)],
}

if __name__ == "__main__":
    main(run, EXPECTED)
