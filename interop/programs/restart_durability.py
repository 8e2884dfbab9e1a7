"""What is there after a restart of the broker: durable objects, persistent messages, their order."""

from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions

from interop.blocking import WAIT_SECONDS, connect, drain, exchange_exists, queue_exists, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

DURABLE, TRANSIENT, EXCLUSIVE = "interop.durable", "interop.transient", "interop.exclusive"
AUTO_DELETE, UNDELIVERED = "interop.durable_auto_delete", "interop.durable_tx"
KEPT, LOST = "interop.kept_exchange", "interop.lost_exchange"
PERSISTENT = pika.BasicProperties(delivery_mode=2, headers={"n": 1}, content_type="text/plain", priority=0)
COUNT = 100


def before(connection: pika.BlockingConnection) -> None:
    channel = connection.channel()
    channel.exchange_declare(KEPT, "topic", durable=True)
    channel.exchange_declare(LOST, "topic", durable=False)
    channel.queue_declare(DURABLE, durable=True)
    channel.queue_declare(UNDELIVERED, durable=True)
    channel.queue_declare(AUTO_DELETE, durable=True, auto_delete=True)
    channel.queue_declare(TRANSIENT, durable=False)
    channel.queue_declare(EXCLUSIVE, exclusive=True)
    channel.queue_bind(DURABLE, KEPT, "a.*")
    channel.exchange_bind(KEPT, "amq.fanout")
    channel.confirm_delivery()
    for number in range(COUNT):
        channel.basic_publish(KEPT, "a.b", str(number).encode(), PERSISTENT)
    channel.basic_publish(KEPT, "a.b", b"transient message", pika.BasicProperties(delivery_mode=1))
    channel.basic_publish("", TRANSIENT, b"in a transient queue", PERSISTENT)


def settle(connection: pika.BlockingConnection) -> None:
    """Ack 0 to 9 but 5, leave 10 unacked, put 11 back; commit one publish and leave one uncommitted."""
    channel = connection.channel()
    tags = [channel.basic_get(DURABLE)[0].delivery_tag for _ in range(12)]
    for tag in tags[:5] + tags[6:10]:
        channel.basic_ack(tag)
    channel.basic_nack(tags[11], requeue=True)
    transaction = connection.channel()
    transaction.tx_select()
    transaction.basic_publish("", UNDELIVERED, b"committed", PERSISTENT)
    transaction.tx_commit()
    transaction.basic_publish("", UNDELIVERED, b"not committed", PERSISTENT)
    channel.queue_declare(DURABLE, passive=True)  # Answered after the acks have been taken.


def after(connection: pika.BlockingConnection) -> Json:
    channel = connection.channel()
    names = [DURABLE, AUTO_DELETE, TRANSIENT, EXCLUSIVE]
    exchanges = {name: exchange_exists(connection, name) for name in (KEPT, LOST)}
    method, properties, body = channel.basic_get(DURABLE, auto_ack=True)
    bodies = [body.decode(), *drain(channel, DURABLE)]
    channel.basic_publish("amq.fanout", "a.x", b"through kept bindings", PERSISTENT)
    return {
        "queues": {name: queue_exists(connection, name) for name in names},
        "exchanges": exchanges,
        "first": [method.redelivered, method.exchange, method.routing_key],
        "first properties": [
            properties.content_type,
            properties.delivery_mode,
            properties.priority,
            properties.headers,
        ],
        "bodies": bodies,
        "bindings": drain(channel, DURABLE),
        "transaction": drain(channel, UNDELIVERED),
    }


def ended_by(call: Callable[[], Any]) -> list[Json]:
    """How the client learns that the broker stops."""
    try:
        call()
    except pika.exceptions.ConnectionClosedByBroker as error:
        return [error.reply_code, error.reply_text.split(" - ")[0]]
    return ["still open"]


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[DURABLE, AUTO_DELETE, TRANSIENT, UNDELIVERED], exchanges=[KEPT, LOST]):
        connection = connect(broker.url)
        before(connection)
        settle(connection)
        broker.restart()
        goodbye = ended_by(lambda: connection.process_data_events(WAIT_SECONDS))
        with connect(broker.url) as again:
            return {"goodbye": goodbye, "after": after(again)}


EXPECTED: Json = {
    "goodbye": [320, "CONNECTION_FORCED"],
    "after": {
        "queues": {DURABLE: True, AUTO_DELETE: True, TRANSIENT: False, EXCLUSIVE: False},
        "exchanges": {KEPT: True, LOST: False},
        "first": [True, KEPT, "a.b"],
        "first properties": ["text/plain", 2, 0, {"n": 1}],
        "bodies": ["5", *[str(number) for number in range(10, COUNT)]],
        "bindings": ["through kept bindings"],
        "transaction": ["committed"],
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
