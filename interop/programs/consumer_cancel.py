"""How consumers end: by the client's cancel, or because their queue is deleted."""

from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, refusal, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE, DOOMED = "interop.cancel", "interop.doomed"


class Consumer:
    def __init__(self, connection: pika.BlockingConnection, queue: str, tag: str) -> None:
        self.bodies: list[Json] = []
        self.tags: list[int] = []
        self.cancelled: list[Json] = []
        self.connection = connection
        self.channel = connection.channel()
        self.channel.basic_qos(prefetch_count=2)
        self.channel.add_on_cancel_callback(lambda frame: self.cancelled.append(frame.method.consumer_tag))
        self.tag = self.channel.basic_consume(queue, self._on_message, consumer_tag=tag)

    def _on_message(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self.bodies.append(body.decode() + (" again" if method.redelivered else ""))
        self.tags.append(method.delivery_tag)

    def wait_for(self, count: int) -> None:
        wait_until(self.connection, lambda: len(self.bodies) == count)


def cancelled_by_client(url: str) -> Json:
    with connect(url) as connection, connect(url) as other:
        channel = other.channel()
        channel.queue_declare(QUEUE)
        consumer = Consumer(connection, QUEUE, "interop-tag")
        for body in (b"1", b"2", b"3"):
            channel.basic_publish("", QUEUE, body)
        consumer.wait_for(2)
        consumer.channel.basic_cancel(consumer.tag)
        left = channel.queue_declare(QUEUE, passive=True).method
        consumer.channel.basic_ack(consumer.tags[0])  # Settling goes on after the cancel.
        before_close = ready_count(consumer.channel, QUEUE)
        consumer.channel.close()
        method, _properties, body = channel.basic_get(QUEUE, auto_ack=True)
        return {
            "consumed": consumer.bodies,
            "ready and consumers after the cancel": [left.message_count, left.consumer_count],
            "ready before the close": before_close,
            "first after the close": [body.decode(), method.redelivered],
            "rest": drain(channel, QUEUE),
        }


def cancelled_by_broker(url: str) -> Json:
    """The queue is deleted under two consumers; an ack that comes too late is no error."""
    with connect(url) as connection, connect(url) as other:
        channel = other.channel()
        channel.queue_declare(DOOMED)
        consumers = [Consumer(connection, DOOMED, tag) for tag in ("first", "second")]
        channel.basic_publish("", DOOMED, b"1")
        consumers[0].wait_for(1)
        refused = [
            refusal(lambda: other.channel().queue_delete(DOOMED, if_unused=True)),
            refusal(lambda: delete_if_empty(other)),
        ]
        channel.queue_delete(DOOMED)
        wait_until(connection, lambda: all(consumer.cancelled for consumer in consumers))
        late_ack = refusal(lambda: acked_late(consumers[0]))
        return {
            "refused deletes": refused,
            "told": [consumer.cancelled for consumer in consumers],
            "late ack": late_ack,
            "consume again": refusal(lambda: consumers[1].channel.basic_consume(DOOMED, print)),
        }


def delete_if_empty(connection: pika.BlockingConnection) -> None:
    channel = connection.channel()
    channel.basic_publish("", QUEUE, b"x")
    channel.queue_delete(QUEUE, if_empty=True)


def acked_late(consumer: Consumer) -> None:
    consumer.channel.basic_ack(consumer.tags[0])
    consumer.channel.queue_declare(QUEUE, passive=True)


def consumer_rules(url: str) -> Json:
    """An exclusive consumer wants to be alone, whoever comes first."""
    with connect(url) as connection, connect(url) as other:
        channel = connection.channel()
        tag = channel.basic_consume(QUEUE, print, exclusive=True)
        second = refusal(lambda: other.channel().basic_consume(QUEUE, print))
        channel.basic_cancel(tag)
        other.channel().basic_consume(QUEUE, print)
        too_late = refusal(lambda: connection.channel().basic_consume(QUEUE, print, exclusive=True))
        return {
            "beside an exclusive consumer": second,
            "exclusive beside another": too_late,
        }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE, DOOMED]):
        return {
            "by the client": cancelled_by_client(broker.url),
            "by the broker": cancelled_by_broker(broker.url),
            "rules": consumer_rules(broker.url),
        }


_IN_USE: Json = ["channel", 403, f"ACCESS_REFUSED - queue '{QUEUE}' in vhost '/' in exclusive use"]
EXPECTED: Json = {
    "by the client": {
        "consumed": ["1", "2"],
        "ready and consumers after the cancel": [1, 0],
        "ready before the close": 1,
        "first after the close": ["2", True],
        "rest": ["3"],
    },
    "by the broker": {
        "refused deletes": [
            ["channel", 406, f"PRECONDITION_FAILED - queue '{DOOMED}' in vhost '/' in use"],
            ["channel", 406, f"PRECONDITION_FAILED - queue '{QUEUE}' in vhost '/' not empty"],
        ],
        "told": [["first"], ["second"]],
        "late ack": ["accepted"],
        "consume again": ["channel", 404, f"NOT_FOUND - no queue '{DOOMED}' in vhost '/'"],
    },
    "rules": {"beside an exclusive consumer": _IN_USE, "exclusive beside another": _IN_USE},
}

if __name__ == "__main__":
    main(run, EXPECTED)
