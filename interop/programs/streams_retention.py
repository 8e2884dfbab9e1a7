"""How much of a stream is kept, as its readers see it: by size, by age, by a policy that changes while it is in use.

RabbitMQ drops whole segments when one is full, so they are small here, and how much is left is not the same to the
message. What must be the same: the oldest go, the rest is without a gap, the newest is there, and a reader that was
overtaken goes on with what is left.
"""

from collections.abc import Callable
from typing import Any

import pika

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.streaming import FIRST, OFFSET, Reader, declare_stream, read
from interop.transcript import Json
from interop.watching import confirmed, serve, watch

BYTES, AGE, USED = "interop.stream_bytes", "interop.stream_age", "interop.stream_policy"
POLICY = "interop-streams"
SIZE = 1000  # of a body
SEGMENT = 20 * SIZE
LIMIT = 60 * SIZE
MANY = 200  # messages
MOST = 90  # that are left of many
LATE_SECONDS = 1.0  # that RabbitMQ may need to apply a policy


def body(number: int) -> str:
    return str(number).ljust(SIZE, ".")


def publish(channel: Any, stream: str, first: int, end: int) -> None:
    """One by one: each is a chunk of its own, in RabbitMQ, too."""
    confirmed(channel, stream, *(body(number) for number in range(first, end)))


def numbers(bodies: list[Json]) -> list[int]:
    return [int(str(each).rstrip(".")) for each in bodies]


def left(connection: pika.BlockingConnection, stream: str, last: int, done: Callable[[list[int]], bool]) -> list[int]:
    """What a reader gets from the first message on, once that is as it is waited for: RabbitMQ takes its time."""
    found: list[int] = []

    def settled() -> bool:
        found[:] = numbers(read(connection, stream, body(last)))
        return done(found)

    serve([connection], settled)
    return found


def few(found: list[int]) -> bool:
    return LIMIT / SIZE / 2 <= len(found) <= MOST


def gapless(found: list[int], last: int) -> bool:
    return found == list(range(found[0], last + 1))


def by_size(url: str, connection: pika.BlockingConnection, channel: Any) -> Json:
    """A slow reader has two messages, and does not ack, while the oldest go."""
    last = MANY - 1
    declare_stream(channel, BYTES, x_max_length_bytes=LIMIT, x_stream_max_segment_size_bytes=SEGMENT)
    publish(channel, BYTES, 0, 4)
    with connect(url) as other:
        slow = Reader(other, BYTES, FIRST, prefetch=2)
        slow.wait_for(2)
        publish(channel, BYTES, 4, MANY)
        found = left(connection, BYTES, last, few)
        by_offset = numbers(read(connection, BYTES, body(last), {OFFSET: 1}))
        slow.ack_all()
        while body(last) not in slow.bodies:
            slow.wait_for(len(slow.bodies) + 1)
            slow.ack_all()
        overtaken = numbers([*slow.bodies])
    return {
        "without a gap": gapless(found, last),
        "an offset that is gone": by_offset == found,
        "overtaken": {
            "before": overtaken[:2],
            "in order": overtaken == sorted({*overtaken}),
            "missed some": len(overtaken) < MANY,
            "offsets tell": slow.offsets == sorted({*slow.offsets}) and slow.offsets[-1] > len(slow.offsets),
        },
    }


def by_age(connection: pika.BlockingConnection, channel: Any) -> Json:
    """Nothing is published for a while; then there is more than a segment of new ones."""
    declare_stream(channel, AGE, x_max_age="1s", x_stream_max_segment_size_bytes=SEGMENT)
    publish(channel, AGE, 0, 30)
    connection.sleep(2.1)
    quiet = numbers(read(connection, AGE, body(29)))
    publish(channel, AGE, 30, 45)
    found = left(connection, AGE, 44, lambda found: found[0] > 0)
    return {"quiet": quiet, "more": gapless(found, 44)}


def by_policy(broker: Broker, connection: pika.BlockingConnection, channel: Any) -> Json:
    """A limit comes, and goes, while a reader follows. RabbitMQ looks at it when the next segment is full."""
    declare_stream(channel, USED, x_stream_max_segment_size_bytes=SEGMENT)
    follower = Follower(connection, USED, FIRST)
    publish(channel, USED, 0, MANY)
    everything = left(connection, USED, MANY - 1, lambda _found: True)
    follower.until(body(MANY - 1))
    broker.policy(POLICY, f"^{USED}$", {"max-length-bytes": LIMIT})
    try:
        watch([connection], LATE_SECONDS)
        publish(channel, USED, MANY, MANY + 25)
        limited = left(connection, USED, MANY + 24, few)
    finally:
        broker.policy(POLICY, f"^{USED}$", {})
    watch([connection], LATE_SECONDS)
    publish(channel, USED, MANY + 25, 2 * MANY)
    found = left(connection, USED, 2 * MANY - 1, lambda _found: True)
    follower.until(body(2 * MANY - 1))
    return {
        "before": [len(everything), gapless(everything, MANY - 1)],
        "limited": gapless(limited, MANY + 24),
        "all that came without it": gapless(found, 2 * MANY - 1) and found[0] <= limited[0] + 1,
        "follower": numbers([*follower.bodies]) == list(range(2 * MANY)),
    }


class Follower(Reader):
    """Acks at once."""

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        super()._on_message(channel, method, properties, body)
        channel.basic_ack(method.delivery_tag)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[BYTES, AGE, USED]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        return {
            "by size": by_size(broker.url, connection, channel),
            "by age": by_age(connection, channel),
            "by policy": by_policy(broker, connection, channel),
        }


EXPECTED: Json = {
    "by size": {
        "without a gap": True,
        "an offset that is gone": True,
        "overtaken": {"before": [0, 1], "in order": True, "missed some": True, "offsets tell": True},
    },
    "by age": {"quiet": [29], "more": True},
    "by policy": {"before": [MANY, True], "limited": True, "all that came without it": True, "follower": True},
}

if __name__ == "__main__":
    main(run, EXPECTED)
