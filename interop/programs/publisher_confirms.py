"""Tutorial 7: the three ways to use publisher confirms: one by one, in batches, and as they come."""

from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.blocking import connect, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.selecting import Confirms, SelectClient
from interop.transcript import Json

QUEUE = "interop.confirms"
PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)


def one_by_one(channel: BlockingChannel, count: int) -> None:
    """Publish in confirm mode: each publish returns when the broker has confirmed it, or raises."""
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish("", QUEUE, str(number).encode(), PERSISTENT)


class AsTheyCome(SelectClient):
    """Publish without waiting for each confirm: at most ``window`` messages are unconfirmed at a time."""

    def __init__(self, url: str, count: int, window: int) -> None:
        super().__init__(url)
        self.confirms = Confirms()
        self._published = 0
        self._count = count
        self._window = window

    def on_channel(self, channel: Any) -> None:
        channel.confirm_delivery(self._on_confirm, callback=lambda _select_ok: self._publish())

    def _publish(self) -> None:
        while self._published < self._count and self._published - len(self.confirms) < self._window:
            self.channel.basic_publish("", QUEUE, str(self._published).encode(), PERSISTENT)
            self._published += 1

    def _on_confirm(self, frame: Any) -> None:
        self.confirms.answered(frame.method)
        if len(self.confirms) == self._count:
            self.finish()
        else:
            self._publish()


def as_they_come(url: str, count: int, window: int) -> Json:
    publisher = AsTheyCome(url, count, window)
    publisher.serve()
    every_publish = set(range(1, count + 1))
    return {"every publish confirmed": publisher.confirms.acked == every_publish}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        one_by_one(connection.channel(), 20)
        after_first = ready_count(channel, QUEUE)
        batches = as_they_come(broker.url, 500, window=50)
        all_at_once = as_they_come(broker.url, 500, window=500)
        return {
            "one by one": after_first,
            "in batches": batches,
            "all at once": all_at_once,
            "in the queue": ready_count(channel, QUEUE),
        }


EXPECTED: Json = {
    "one by one": 20,
    "in batches": {"every publish confirmed": True},
    "all at once": {"every publish confirmed": True},
    "in the queue": 1020,
}

if __name__ == "__main__":
    main(run, EXPECTED)
