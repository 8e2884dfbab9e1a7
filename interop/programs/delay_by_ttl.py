"""Delayed messages without a plugin: a queue that nobody consumes, a TTL, and its dead letter exchange.

One queue for each delay, made when it is needed and gone by x-expires when it is not; and one queue for all, with an
expiration in each message, where a short delay must not wait for a long one before it.
"""

import time
from typing import Any

import pika

from interop.blocking import WAIT_SECONDS, connect, queue_exists, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.lateness import punctual, within
from interop.transcript import Json
from interop.watching import Inbox, watch

EXCHANGE, TARGET, SHARED = "interop.delayed", "interop.delayed_target", "interop.delayed_shared"
DELAYS = {"third": 900, "first": 100, "second": 500}  # ms
APART = 0.4  # seconds between two of them, when they are published at the same time


def delay_queue(delay: int) -> str:
    return f"interop.delayed_{delay}"


class Clock(Inbox):
    """Notes for each message whether its delay is over."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.sent: dict[str, float] = {}
        self.early: list[str] = []
        super().__init__(connection, TARGET, auto_ack=True)

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        super()._on_message(channel, method, properties, body)
        name = body.decode().split()[0]
        if time.monotonic() < self.sent[body.decode()] + DELAYS[name] / 1000 - 0.01:
            self.early.append(name)


def publish(channel: Any, clock: Clock, queue: str, body: str, **properties: Any) -> None:
    clock.sent[body] = time.monotonic()
    channel.basic_publish("", queue, body.encode(), pika.BasicProperties(**properties))


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    queues = [TARGET, SHARED, *map(delay_queue, DELAYS.values())]
    with scratch(broker.url, queues=queues, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic")
        channel.queue_declare(TARGET)
        channel.queue_bind(TARGET, EXCHANGE, "#")
        clock = Clock(connection)
        to_target = {"x-dead-letter-exchange": EXCHANGE}
        with within(APART):
            for name, delay in DELAYS.items():
                arguments = to_target | {"x-message-ttl": delay, "x-expires": 2 * delay + 300}
                channel.queue_declare(delay_queue(delay), arguments=arguments)
                publish(channel, clock, delay_queue(delay), name)
            ready_count(channel, TARGET)  # Answered after all have been taken.
        clock.wait_for(3)
        a_queue_each = [*clock.bodies]
        channel.queue_declare(SHARED, arguments=to_target)
        with within(APART):
            for name, delay in DELAYS.items():
                publish(channel, clock, SHARED, f"{name} of all", expiration=str(delay))
            ready_count(channel, SHARED)
        clock.wait_for(6)
        deadline = time.monotonic() + WAIT_SECONDS
        while queue_exists(connection, delay_queue(DELAYS["first"])):
            assert time.monotonic() < deadline, "the queue that nobody uses is still there"
            watch([connection], 1.0)  # To look is to use it.
        return {
            "a queue each": a_queue_each,
            "one queue": clock.bodies[3:],
            "too early": clock.early,
            "left": ready_count(channel, SHARED),
        }


EXPECTED: Json = {
    "a queue each": ["first", "second", "third"],
    "one queue": ["first of all", "second of all", "third of all"],
    "too early": [],
    "left": 0,
}

if __name__ == "__main__":
    main(run, EXPECTED)
