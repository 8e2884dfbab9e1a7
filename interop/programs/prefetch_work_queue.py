"""A work queue with prefetch: fair shares, full workers are passed over, nack gives a task back."""

from typing import Any

import pika

from interop.blocking import connect, ready_count, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.prefetch"


class Worker:
    """A consumer that holds what it gets: ``tasks`` in order of delivery, ``tags`` by task."""

    def __init__(self, connection: pika.BlockingConnection, prefetch: int) -> None:
        self.tasks: list[Json] = []
        self.tags: dict[str, int] = {}
        self.connection = connection
        self.channel = connection.channel()
        self.channel.basic_qos(prefetch_count=prefetch)
        self.channel.basic_consume(QUEUE, self._on_task)

    def _on_task(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self.tasks.append(body.decode() + (" again" if method.redelivered else ""))
        self.tags[body.decode()] = method.delivery_tag

    def wait_for(self, count: int) -> None:
        wait_until(self.connection, lambda: len(self.tasks) == count)


def run(broker: Broker) -> Json:
    with (
        scratch(broker.url, queues=[QUEUE]),
        connect(broker.url) as sender,
        connect(broker.url) as one,
        connect(broker.url) as two,
    ):
        channel = sender.channel()
        channel.queue_declare(QUEUE)
        first, second = Worker(one, prefetch=5), Worker(two, prefetch=3)
        for number in range(12):
            channel.basic_publish("", QUEUE, str(number).encode())
        first.wait_for(5)
        second.wait_for(3)
        ready_when_full = ready_count(channel, QUEUE)
        second.channel.basic_nack(second.tags["3"], requeue=True)  # Only the second worker has room.
        second.wait_for(4)
        first.channel.basic_ack(first.tags["4"], multiple=True)  # 0, 2 and 4
        first.wait_for(8)
        second.channel.basic_reject(second.tags["5"], requeue=False)
        second.wait_for(5)
        first.connection.close()
        second.channel.basic_ack(0, multiple=True)
        second.wait_for(8)
        return {
            "ready when both are full": ready_when_full,
            "first": first.tasks,
            "second": second.tasks,
            "ready at the end": ready_count(channel, QUEUE),
        }


EXPECTED: Json = {
    "ready when both are full": 4,
    "first": ["0", "2", "4", "6", "7", "8", "9", "10"],
    "second": ["1", "3", "5", "3 again", "11", "6 again", "7 again", "8 again"],
    "ready at the end": 2,
}

if __name__ == "__main__":
    main(run, EXPECTED)
