"""x-queue-type quorum: what may be declared, how deliveries are counted, and the delivery limit."""

from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.field_types import raw_client, typed_headers
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, deaths, get_soon, lose, precondition, wait_ready, watch

QUEUE, LIMITED, LONGER, DEAD = "interop.quorum", "interop.quorum_limit", "interop.quorum_max", "interop.quorum_dead"
BAD = "interop.quorum_bad"
QUORUM = {"x-queue-type": "quorum"}
DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
QUEUES: dict[str, dict[str, Any]] = {
    DEAD: {},
    QUEUE: QUORUM,
    LIMITED: QUORUM | DLX | {"x-delivery-limit": 2},
    LONGER: QUORUM | {"x-max-length": 2},
}


def header(properties: pika.BasicProperties, name: str = "x-delivery-count") -> Json:
    """The value of a header, None when it is not there."""
    value: Json = (properties.headers or {}).get(name)
    return value


def counted(url: str, channel: Any) -> Json:
    """The count of each delivery of one message: after reject, after a closed channel, after a lost connection."""
    seen: list[pika.BasicProperties] = []
    bodies: list[str] = []

    def deliver_once() -> Inbox:
        inbox = Inbox(connect(url), QUEUE, prefetch=1)
        inbox.wait_for(1)
        seen.append(inbox.properties[0])
        bodies.extend(inbox.bodies)
        return inbox

    channel.basic_publish("", QUEUE, b"x", pika.BasicProperties(headers={"mine": 1}))
    first = deliver_once()
    first.reject("x", requeue=True)
    first.wait_for(2)
    seen.append(first.properties[1])
    bodies.append(first.bodies[1])
    first.channel.close()
    second = deliver_once()
    first.connection.close()
    lose(second.connection)
    third = deliver_once()
    third.channel.basic_cancel(third.tag)
    third.ack("x")
    third.connection.close()
    return {
        "bodies": bodies,
        "counts": [header(properties) for properties in seen],
        "acquired": [header(properties, "x-acquired-count") for properties in seen],
        "own headers": [header(properties, "mine") for properties in seen],
    }


def counted_by_get(channel: Any) -> Json:
    """A get has the header from the first time on."""
    channel.basic_publish("", QUEUE, b"x")
    wait_ready(channel, QUEUE, 1)
    told: list[Json] = []
    for _ in range(3):
        method, properties, _body = channel.basic_get(QUEUE)
        told.append([header(properties), method.redelivered])
        channel.basic_reject(method.delivery_tag, requeue=True)
        wait_ready(channel, QUEUE, 1)
    channel.queue_purge(QUEUE)
    return told


def counted_by_nack(channel: Any) -> Json:
    channel.basic_publish("", QUEUE, b"x")
    wait_ready(channel, QUEUE, 1)
    told: list[Json] = []
    for _ in range(3):
        method, properties, _body = channel.basic_get(QUEUE)
        told.append(header(properties))
        channel.basic_nack(method.delivery_tag, requeue=True)
        wait_ready(channel, QUEUE, 1)
    channel.queue_purge(QUEUE)
    return told


def count_is_a_long(url: str, channel: Any) -> Json:
    channel.basic_publish("", QUEUE, b"x")
    wait_ready(channel, QUEUE, 1)
    with raw_client(url) as client:
        message = client.channel().get(QUEUE)
        assert message is not None
        return typed_headers(message)["x-delivery-count"]


def limit(url: str, channel: Any) -> Json:
    """Two redeliveries are allowed; the third return is the death of the message."""
    with connect(url) as connection:
        inbox = Inbox(connection, LIMITED, prefetch=1)
        channel.basic_publish("", LIMITED, b"poison", pika.BasicProperties(headers={"mine": 1}))
        for count in (1, 2, 3):
            inbox.wait_for(count)
            inbox.reject("poison", requeue=True)
        _method, properties, _body = get_soon(channel, DEAD)
        watch([connection])
        row = deaths(properties)
        return {
            "delivered": [*inbox.bodies],
            "counts": [header(each) for each in inbox.properties],
            "x-death": row,
            "first": {key: value for key, value in properties.headers.items() if key.startswith("x-first-")},
            "own headers": header(properties, "mine"),
            "left": ready_count(channel, LIMITED),
        }


def max_length(channel: Any) -> Json:
    """drop-head, as with other queues."""
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", LONGER, body)
    wait_ready(channel, LONGER, 2)
    return drain(channel, LONGER)


def rules(url: str) -> Json:
    def declare(**values: Any) -> Json:
        def act() -> None:
            with connect(url) as connection:
                arguments = QUORUM | values.pop("arguments", {})
                connection.channel().queue_declare(**{"queue": BAD, "durable": True} | values, arguments=arguments)

        return refusal(act)

    def on_connection(act: Any) -> Json:
        def on_channel() -> None:
            with connect(url) as connection:
                act(connection.channel())

        return refusal(on_channel)

    def delete(channel: Any, **condition: bool) -> None:
        channel.queue_declare(BAD, durable=True, arguments=QUORUM)
        channel.queue_delete(BAD, **condition)

    def consume_with_global_qos(channel: Any) -> None:
        channel.basic_qos(prefetch_count=1, global_qos=True)
        channel.basic_consume(QUEUE, print)

    return {
        "not durable": declare(durable=False),
        "exclusive": declare(exclusive=True),
        "auto-delete": declare(auto_delete=True),
        "server-named": declare(queue=""),
        "priorities": declare(arguments={"x-max-priority": 5}),
        "unknown type": declare(arguments={"x-queue-type": "nonesuch"}),
        "type is a number": declare(arguments={"x-queue-type": 1}),
        "again as classic": on_connection(lambda channel: channel.queue_declare(QUEUE, durable=True)),
        "delete if unused": on_connection(lambda channel: delete(channel, if_unused=True)),
        "delete if empty": on_connection(lambda channel: delete(channel, if_empty=True)),
        "global qos": on_connection(consume_with_global_qos),
    }


def run(broker: Broker) -> Json:
    url = broker.url
    with scratch(url, queues=[*QUEUES, BAD]), connect(url) as connection:
        channel = connection.channel()
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, durable=True, arguments=arguments)
        return {
            "push": counted(url, channel),
            "get": counted_by_get(channel),
            "nack": counted_by_nack(channel),
            "type of the count": count_is_a_long(url, channel),
            "limit": limit(url, channel),
            "max-length": max_length(channel),
            "rules": rules(url),
        }


EXPECTED: Json = {
    "push": {
        "bodies": ["x", "x again", "x again", "x again"],
        "counts": [None, 1, 2, 3],
        "acquired": [None, 1, 2, 3],
        "own headers": [1, 1, 1, 1],
    },
    "get": [[0, False], [1, True], [2, True]],
    "nack": [0, 1, 2],
    "type of the count": ["l", 0],
    "limit": {
        "delivered": ["poison", "poison again", "poison again"],
        "counts": [None, 1, 2],
        "x-death": [
            {
                "count": 1,
                "reason": "delivery_limit",
                "queue": "interop.quorum_limit",
                "time": "now",
                "exchange": "",
                "routing-keys": ["interop.quorum_limit"],
            }
        ],
        "first": {
            "x-first-death-exchange": "",
            "x-first-death-queue": "interop.quorum_limit",
            "x-first-death-reason": "delivery_limit",
        },
        "own headers": 1,
        "left": 0,
    },
    "max-length": ["2", "3"],
    "rules": {
        "not durable": precondition("invalid property 'non-durable' for queue 'interop.quorum_bad' in vhost '/'"),
        "exclusive": precondition("invalid property 'exclusive-owner' for queue 'interop.quorum_bad' in vhost '/'"),
        "auto-delete": precondition("invalid property 'auto-delete' for queue 'interop.quorum_bad' in vhost '/'"),
        "server-named": precondition("Cannot declare a server-named queue for type rabbit_quorum_queue"),
        "priorities": precondition(
            "invalid arg 'x-max-priority' for queue 'interop.quorum_bad' in vhost '/' of queue type rabbit_quorum_queue"
        ),
        "unknown type": bad_argument("x-queue-type", "interop.quorum_bad", "\"unsupported queue type 'nonesuch'\""),
        "type is a number": bad_argument("x-queue-type", "interop.quorum_bad", "{unacceptable_type,signedint}"),
        "again as classic": precondition(
            "inequivalent arg 'x-queue-type' for queue 'interop.quorum' in vhost '/': received "
            "none but current is the value 'quorum' of type 'longstr'"
        ),
        "delete if unused": ["accepted"],
        "delete if empty": ["accepted"],
        "global qos": ["accepted"],
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
