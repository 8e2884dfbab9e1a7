"""A resource alarm: publishers are told that they are blocked and wait, consumers go on, and nothing is lost.

The publisher uses pika's SelectConnection, whose callbacks see connection.blocked and connection.unblocked as
they come.
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
    """Publishes until it is blocked, then once more; finishes when all is confirmed after all.

    A broker tells a connection that it is blocked when that connection publishes, and the alarm may take a
    moment.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.events: list[Json] = []
        self.published = 0
        self.confirms = Confirms()
        self.blocked = threading.Event()
        self.connection.add_on_connection_blocked_callback(self._on_blocked)
        self.connection.add_on_connection_unblocked_callback(self._on_unblocked)

    def on_channel(self, channel: Any) -> None:
        channel.confirm_delivery(self._on_confirm, callback=lambda _select_ok: self._publish())

    def _publish(self) -> None:
        persistent = pika.BasicProperties(delivery_mode=2)
        self.channel.basic_publish("", QUEUE, str(self.published).encode(), persistent)
        self.published += 1

    def _publish_unless_blocked(self) -> None:
        if not self.blocked.is_set():
            self._publish()

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.events.append(["blocked", frame.method.reason])
        self._publish()
        self.blocked.set()

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.events.append("unblocked")
        self._finish_when_all_is_seen()

    def _on_confirm(self, frame: Any) -> None:
        self.confirms.answered(frame.method)
        self.connection.ioloop.call_later(0.01, self._publish_unless_blocked)
        self._finish_when_all_is_seen()

    def _finish_when_all_is_seen(self) -> None:
        if len(self.confirms.acked) == self.published and "unblocked" in self.events:
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
        return {"consumed": bodies, "left": ready_count(channel, OTHER)}


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
            queued = ready_count(connection.channel(), QUEUE)
        return {
            "publisher": publisher.events,
            "all confirmed": len(publisher.confirms.acked) == publisher.published,
            "all queued": queued == publisher.published,
            "consumer": consumed,
        }


EXPECTED: Json = {
    "publisher": [["blocked", "low on memory"], "unblocked"],
    "all confirmed": True,
    "all queued": True,
    "consumer": {"consumed": ["0", "1", "2"], "left": 0},
}

if __name__ == "__main__":
    main(run, EXPECTED)
