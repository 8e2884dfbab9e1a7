"""x-max-priority: levels, capping, order inside a level, redelivery, prefetch; what a length limit drops."""

from typing import Any

import pika

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, precondition, wait_ready, watch

FIVE, TOP, LIMITED, PLAIN = "interop.prio", "interop.prio_255", "interop.prio_limited", "interop.prio_plain"
DEAD = "interop.prio_dead"
QUEUES: dict[str, dict[str, Any]] = {
    DEAD: {},
    FIVE: {"x-max-priority": 5},
    TOP: {"x-max-priority": 255},
    LIMITED: {
        "x-max-priority": 5,
        "x-max-length": 3,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DEAD,
    },
    PLAIN: {},
}


def publish(channel: Any, queue: str, *priorities: int | None) -> None:
    """One message for each, its body the priority and its number among them; None has no priority property."""
    for number, priority in enumerate(priorities):
        properties = pika.BasicProperties(priority=priority)
        channel.basic_publish("", queue, f"{priority}.{number}".encode(), properties)


def order(channel: Any) -> Json:
    """By level, in order inside a level; above the maximum is the maximum, none is 0; the property stays as it was."""
    publish(channel, FIVE, 1, None, 5, 3, 0, 9, 3, None, 255, 5, 1)
    told: list[Json] = []
    while True:
        method, properties, body = channel.basic_get(FIVE, auto_ack=True)
        if method is None:
            break
        told.append([body.decode(), properties.priority, method.message_count])
    publish(channel, TOP, 0, 127, 255, 128, 254)
    publish(channel, PLAIN, 0, 5, 9)
    return {"five levels": told, "255 levels": drain(channel, TOP), "no levels": drain(channel, PLAIN)}


def redelivery(channel: Any) -> Json:
    """A requeued message keeps its place inside of its level."""
    publish(channel, FIVE, 2, 2, 2, 4, 0)
    tags = [channel.basic_get(FIVE)[0].delivery_tag for _ in range(3)]
    channel.basic_reject(tags[2], requeue=True)
    channel.basic_reject(tags[0], requeue=True)
    channel.basic_reject(tags[1], requeue=True)
    wait_ready(channel, FIVE, 5)
    told: list[Json] = []
    while True:
        method, _properties, body = channel.basic_get(FIVE, auto_ack=True)
        if method is None:
            return told
        told.append(body.decode() + (" again" if method.redelivered else ""))


def prefetch(url: str, channel: Any) -> Json:
    """What a consumer holds already is not overtaken; the free place gets the highest there is."""
    with connect(url) as connection:
        publish(channel, FIVE, 1, 1, 1)
        inbox = Inbox(connection, FIVE, prefetch=2)
        inbox.wait_for(2)
        publish(channel, FIVE, 0, 5, 3)
        wait_ready(channel, FIVE, 4)
        watch([connection])
        held: list[Json] = [*inbox.bodies]
        for count in range(3, 7):
            inbox.ack(inbox.bodies[count - 3])
            inbox.wait_for(count)
        return {"held": held, "all": [*inbox.bodies]}


def purge_and_delete(channel: Any) -> Json:
    channel.queue_purge(FIVE)
    publish(channel, FIVE, 1, 2, 3, None)
    purged = channel.queue_purge(FIVE).method.message_count
    publish(channel, FIVE, 1, 2)
    return [purged, channel.queue_delete(FIVE).method.message_count]


def limits(channel: Any) -> Json:
    """A full queue drops from its head, and there stands the highest level."""
    publish(channel, LIMITED, 1, 5, 1, 5, 3)
    wait_ready(channel, DEAD, 2)
    return {"left": drain(channel, LIMITED), "dead": drain(channel, DEAD)}


def refused(connection: pika.BlockingConnection) -> Json:
    def declare_with(levels: Any) -> Json:
        arguments = {"x-max-priority": levels}
        return refusal(lambda: connection.channel().queue_declare("interop.prio_bad", arguments=arguments))

    def redeclare() -> None:
        connection.channel().queue_declare(TOP, arguments={"x-max-priority": 10})

    return {
        "256": declare_with(256),
        "negative": declare_with(-1),
        "text": declare_with("high"),
        "redeclare": refusal(redeclare),
    }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[*QUEUES]), connect(broker.url) as connection:
        channel = connection.channel()
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, arguments=arguments)
        return {
            "order": order(channel),
            "redelivery": redelivery(channel),
            "prefetch": prefetch(broker.url, channel),
            "purge and delete": purge_and_delete(channel),
            "limits": limits(channel),
            "refused": refused(connection),
        }


EXPECTED: Json = {
    "order": {
        "five levels": [
            ["5.2", 5, 10],
            ["9.5", 9, 9],
            ["255.8", 255, 8],
            ["5.9", 5, 7],
            ["3.3", 3, 6],
            ["3.6", 3, 5],
            ["1.0", 1, 4],
            ["1.10", 1, 3],
            ["None.1", None, 2],
            ["0.4", 0, 1],
            ["None.7", None, 0],
        ],
        "255 levels": ["255.2", "254.4", "128.3", "127.1", "0.0"],
        "no levels": ["0.0", "5.1", "9.2"],
    },
    "redelivery": ["4.3 again", "2.0 again", "2.1 again", "2.2", "0.4"],
    "prefetch": {"held": ["1.0", "1.1"], "all": ["1.0", "1.1", "5.1", "3.2", "1.2", "0.0"]},
    "purge and delete": [4, 2],
    "limits": {"left": ["3.4", "1.0", "1.2"], "dead": ["5.1", "5.3"]},
    "refused": {
        "256": bad_argument("x-max-priority", "interop.prio_bad", "{max_value_exceeded,256}"),
        "negative": bad_argument("x-max-priority", "interop.prio_bad", "{value_negative,-1}"),
        "text": bad_argument("x-max-priority", "interop.prio_bad", '"expected integer, got longstr"'),
        "redeclare": precondition(
            "inequivalent arg 'x-max-priority' for queue 'interop.prio_255' in vhost '/': received"
            " '10' but current is '255'"
        ),
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
