"""x-priority of consumers: the highest with room gets all; equals take turns; below zero comes after none."""

from typing import Any

import pika

from interop.blocking import connect, ready_count, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import Inbox, bad_argument, serve, watch

QUEUE = "interop.consumer_prio"


def publish(channel: Any, *bodies: str) -> None:
    for body in bodies:
        channel.basic_publish("", QUEUE, body.encode())


def by_room(url: str, channel: Any) -> Json:
    """High, none and low, each with room for two; then the next best gets what the better one has no room for."""
    with connect(url) as connection:
        low, none, high = (
            Inbox(connection, QUEUE, prefetch=2, arguments=arguments)
            for arguments in ({"x-priority": -3}, None, {"x-priority": 7})
        )
        publish(channel, *"123456")
        serve([connection], lambda: len(low.bodies) == 2)
        told: dict[str, Json] = {"high": [*high.bodies], "none": [*none.bodies], "low": [*low.bodies]}
        high.ack("1")
        low.ack("5")
        for inbox in (high, low):
            ready_count(
                inbox.channel, QUEUE
            )  # Answered after the ack has been taken; what follows comes by another way.
        publish(channel, "7", "8")
        serve([connection], lambda: sum(len(inbox.bodies) for inbox in (high, none, low)) == 8)
        watch([connection])
        told["with one place each"] = {"high": high.bodies[2:], "none": none.bodies[2:], "low": low.bodies[2:]}
        high.channel.basic_cancel(high.tag)
        none.ack("3")
        publish(channel, "9")
        none.wait_for(3)
        watch([connection])
        told["the high one gone"] = none.bodies[2:]
        return told


def equals_take_turns(url: str, channel: Any) -> Json:
    """Two equal ones share, a lower one gets nothing while they have room."""
    channel.queue_purge(QUEUE)
    with connect(url) as connection:
        lower = Inbox(connection, QUEUE, auto_ack=True, arguments={"x-priority": 1})
        two = [Inbox(connection, QUEUE, auto_ack=True, arguments={"x-priority": 2}) for _ in range(2)]
        publish(channel, *"12345678")
        serve([connection], lambda: sum(len(inbox.bodies) for inbox in two) == 8)
        return {"both work": all(inbox.bodies for inbox in two), "lower": [*lower.bodies]}


def refused(connection: pika.BlockingConnection) -> Json:
    def consume_with(priority: Any) -> Json:
        arguments = {"x-priority": priority}
        return refusal(lambda: connection.channel().basic_consume(QUEUE, print, arguments=arguments))

    return {"text": consume_with("high"), "bool": consume_with(True)}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        return {
            "by room": by_room(broker.url, channel),
            "equals": equals_take_turns(broker.url, channel),
            "refused": refused(connection),
        }


EXPECTED: Json = {
    "by room": {
        "high": ["1", "2"],
        "none": ["3", "4"],
        "low": ["5", "6"],
        "with one place each": {"high": ["7"], "none": [], "low": ["8"]},
        "the high one gone": ["9"],
    },
    "equals": {"both work": True, "lower": []},
    "refused": {
        "text": bad_argument("x-priority", "interop.consumer_prio", '"expected integer, got longstr"'),
        "bool": bad_argument("x-priority", "interop.consumer_prio", '"expected integer, got bool"'),
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
