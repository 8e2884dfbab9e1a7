"""Mandatory publishes in confirm mode with SelectConnection: the return comes before its confirm."""

from typing import Any

import pika

from interop.blocking import connect, drain, scratch
from interop.broker import Broker
from interop.command import main
from interop.selecting import Confirms, SelectClient
from interop.transcript import Json

QUEUE = "interop.returns"
COUNT = 100


class Publisher(SelectClient):
    """Publishes COUNT messages at once, every third of them to nowhere."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.confirms = Confirms()
        self.returned: list[int] = []
        self.returned_before_confirmed: list[int] = []

    def on_channel(self, channel: Any) -> None:
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _select_ok: self._publish())

    def _publish(self) -> None:
        persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
        for number in range(1, COUNT + 1):
            key = QUEUE if number % 3 else "interop.nowhere"
            self.channel.basic_publish("", key, str(number).encode(), persistent, mandatory=True)

    def _on_return(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        self.returned.append(int(body))

    def _on_confirm(self, frame: Any) -> None:
        numbers = self.confirms.answered(frame.method)
        self.returned_before_confirmed += [n for n in numbers if n % 3 == 0 and n in self.returned]
        if len(self.confirms) == COUNT:
            self.finish()


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        publisher = Publisher(broker.url)
        publisher.serve()
        return {
            "acked": sorted(publisher.confirms.acked),
            "nacked": sorted(publisher.confirms.nacked),
            "returned": publisher.returned,
            "returned before confirmed": sorted(publisher.returned_before_confirmed),
            "queued": drain(channel, QUEUE),
        }


EXPECTED: Json = {
    "acked": list(range(1, COUNT + 1)),
    "nacked": [],
    "returned": list(range(3, COUNT + 1, 3)),
    "returned before confirmed": list(range(3, COUNT + 1, 3)),
    "queued": [str(number) for number in range(1, COUNT + 1) if number % 3],
}

if __name__ == "__main__":
    main(run, EXPECTED)
