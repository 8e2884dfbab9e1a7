"""A resource alarm: publishers are told that they are blocked and wait, consumers go on, and nothing is lost.

The publisher uses pika's SelectConnection, whose callbacks see connection.blocked and connection.unblocked as they come.
"""

import threading
from typing import Any

import pika

from interop.blocking import WAIT_SECONDS, connect, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.selecting import Confirms, SelectClient
from interop.transcript import Json

QUEUE, OTHER = "interop.blocked", "interop.blocked_other"


class Publisher(SelectClient):
    """Publishes one message, is blocked for it, and finishes when that message is confirmed after all."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.events: list[Json] = []
        self.blocked, self.go = threading.Event(), threading.Event()
        self._confirms = Confirms()
        self.connection.add_on_connection_blocked_callback(self._on_blocked)
        self.connection.add_on_connection_unblocked_callback(lambda *_: self.events.append("unblocked"))

    def on_channel(self, channel: Any) -> None:
        channel.confirm_delivery(self._on_confirm, callback=lambda _select_ok: self._publish(1))

    def _publish(self, number: int) -> None:
        persistent = pika.BasicProperties(delivery_mode=2)
        self.channel.basic_publish("", QUEUE, str(number).encode(), persistent)

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.events.append(["blocked", frame.method.reason])
        self._publish(2)
        self.blocked.set()

    def _on_confirm(self, frame: Any) -> None:
        self._confirms.answered(frame.method)
        if len(self._confirms) == 2:
            self.finish()


class Serving(threading.Thread):
    """Serves the publisher's loop while the main thread acts on the broker."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(daemon=True)
        self._publisher = publisher

    def run(self) -> None:
        self._publisher.serve()


def during_the_alarm(url: str) -> Json:
    """A connection that does not publish works as always: it consumes, acks and declares."""
    with connect(url) as connection:
        channel = connection.channel()
        bodies = []
        for method, _properties, body in channel.consume(OTHER, inactivity_timeout=WAIT_SECONDS):
            bodies.append(body.decode())
            channel.basic_ack(method.delivery_tag)
            if len(bodies) == 3:
                break
        channel.cancel()
        return {"consumed": list[Json](bodies), "left": ready_count(channel, OTHER)}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE, OTHER]):
        with connect(broker.url) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True)
            channel.queue_declare(OTHER)
            for number in range(3):
                channel.basic_publish("", OTHER, str(number).encode())
        broker.alarm(True)
        try:
            publisher = Publisher(broker.url)
            serving = Serving(publisher)
            serving.start()
            assert publisher.blocked.wait(WAIT_SECONDS), "connection.blocked never came"
            consumed = during_the_alarm(broker.url)
        finally:
            broker.alarm(False)
        serving.join(WAIT_SECONDS)
        with connect(broker.url) as connection:
            left = ready_count(connection.channel(), QUEUE)
        return {"publisher": publisher.events, "confirmed": not serving.is_alive(), "consumer": consumed, "queued": left}


EXPECTED: Json = {
    "publisher": [["blocked", "low on memory"], "unblocked"],
    "confirmed": True,
    "consumer": {"consumed": ["0", "1", "2"], "left": 0},
    "queued": 2,
}

if __name__ == "__main__":
    main(run, EXPECTED)
