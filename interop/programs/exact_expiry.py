"""A message with a short TTL behind one with a long TTL: it expires when its time comes, wherever it stands."""

from typing import Any

import pika

from interop.blocking import connect, drain, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import Inbox, get_soon, wait_a_little

QUEUE, LEVELS, DEAD = "interop.exact", "interop.exact_levels", "interop.exact_dead"
STEP = 200  # ms between two of the short ones
BUSY = 3.0  # seconds that a busy machine may be late
DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}


def publish(channel: Any, body: str, ms: int) -> None:
    channel.basic_publish("", QUEUE, body.encode(), pika.BasicProperties(expiration=str(ms)))


def in_the_middle(channel: Any) -> Json:
    """Long and short ones by turns; then the short ones must be gone and the long ones in order."""
    with within(STEP / 1000):  # else the order of their deadlines is not the one of their lives
        for number in range(4):
            publish(channel, f"long {number}", 60000)
            publish(channel, f"short {number}", 700 - STEP * number)
        ready_count(channel, QUEUE)  # Answered after all have been taken.
    channel.connection.sleep(1.2)
    wait_a_little(channel, QUEUE, 4, BUSY)
    wait_a_little(channel, DEAD, 4, BUSY)
    ready = ready_count(channel, QUEUE)
    return {"ready": ready, "dead": drain(channel, DEAD), "left": drain(channel, QUEUE)}


def behind_an_unacked_one(url: str, channel: Any) -> Json:
    """At the head of the ready messages every broker expires it in time."""
    channel.queue_purge(DEAD)
    with connect(url) as connection:
        inbox = Inbox(connection, QUEUE, prefetch=1)
        publish(channel, "held", 60000)
        inbox.wait_for(1)
        publish(channel, "short", 100)
        dead = get_soon(channel, DEAD)[2]
        inbox.ack("held")
        return {"dead": dead, "delivered": list(inbox.bodies)}


def behind_a_higher_priority(channel: Any) -> Json:
    """The same in a priority queue, where a message of a higher level stands before it."""
    for priority, ms in ((3, 60000), (1, 100), (0, 60000)):
        properties = pika.BasicProperties(priority=priority, expiration=str(ms))
        channel.basic_publish("", LEVELS, f"of {priority}".encode(), properties)
    channel.connection.sleep(0.6)
    wait_a_little(channel, LEVELS, 2, BUSY)
    wait_a_little(channel, DEAD, 1, BUSY)
    ready = ready_count(channel, LEVELS)
    return {"ready": ready, "dead": drain(channel, DEAD), "left": drain(channel, LEVELS)}


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE, LEVELS, DEAD]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(DEAD)
        channel.queue_declare(QUEUE, arguments=DLX)
        channel.queue_declare(LEVELS, arguments=DLX | {"x-max-priority": 3})
        return {
            "in the middle": in_the_middle(channel),
            "behind an unacked one": behind_an_unacked_one(broker.url, channel),
            "behind a higher priority": behind_a_higher_priority(channel),
        }


EXPECTED: Json = {
    "in the middle": {
        "ready": 4,
        "dead": ["short 3", "short 2", "short 1", "short 0"],
        "left": ["long 0", "long 1", "long 2", "long 3"],
    },
    "behind an unacked one": {"dead": "short", "delivered": ["held"]},
    "behind a higher priority": {"ready": 2, "dead": ["of 1"], "left": ["of 3", "of 0"]},
}

if __name__ == "__main__":
    main(run, EXPECTED)
