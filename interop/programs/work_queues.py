"""Tutorial 2: tasks shared by two workers; the task of a worker that dies goes to the other one."""

from typing import Any

import pika

from interop.blocking import connect, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.tasks"


class Worker:
    """Takes one task at a time (prefetch 1) and acks it when told to."""

    def __init__(self, url: str) -> None:
        self.tasks: list[Json] = []
        self._tags: list[int] = []
        self.connection = connect(url)
        self.channel = self.connection.channel()
        self.channel.queue_declare(QUEUE, durable=True)
        self.channel.basic_qos(prefetch_count=1)
        self.channel.basic_consume(QUEUE, self._on_task)

    def _on_task(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self.tasks.append([body.decode(), method.redelivered])
        self._tags.append(method.delivery_tag)

    def wait_for(self, count: int) -> None:
        wait_until(self.connection, lambda: len(self.tasks) == count)

    def finish_task(self) -> None:
        self.channel.basic_ack(self._tags.pop(0))


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        first, second = Worker(broker.url), Worker(broker.url)

        def send(task: str) -> None:
            persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
            channel.basic_publish("", QUEUE, task.encode(), persistent)

        send("one")
        send("two")
        first.wait_for(1)
        second.wait_for(1)
        second.finish_task()
        send("three")  # The first worker is still busy with task one.
        second.wait_for(2)
        first.connection.close()
        second.finish_task()
        second.wait_for(3)
        second.finish_task()
        second.connection.close()
        left = channel.queue_declare(QUEUE, durable=True).method
        return {
            "first": first.tasks,
            "second": second.tasks,
            "left": [left.message_count, left.consumer_count],
        }


EXPECTED: Json = {
    "first": [["one", False]],
    "second": [["two", False], ["three", False], ["one", True]],
    "left": [0, 0],
}

if __name__ == "__main__":
    main(run, EXPECTED)
