"""Retry with back-off, as many do it with pika: failed tasks wait in queues with growing TTLs and then come back.

The worker publishes a failed task again, with its headers, to the queue of the next delay; how often it failed is read
from x-death. After the last delay it goes to the queue of failed tasks.
"""

from typing import Any

import pika

from interop.blocking import connect, ready_count, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json
from interop.watching import death_counts, get_soon, serve

EXCHANGE = "interop.backoff"
WORK, FAILED = "interop.backoff_work", "interop.backoff_failed"
DELAYS = [50, 100, 200]  # ms, one for each retry


def wait_queue(delay: int) -> str:
    return f"interop.backoff_wait_{delay}"


def declare(channel: Any) -> None:
    channel.exchange_declare(EXCHANGE, "direct", durable=True)
    for queue in (WORK, FAILED):
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, EXCHANGE, queue)
    for delay in DELAYS:
        back = {"x-dead-letter-exchange": EXCHANGE, "x-dead-letter-routing-key": WORK, "x-message-ttl": delay}
        channel.queue_declare(wait_queue(delay), durable=True, arguments=back)
        channel.queue_bind(wait_queue(delay), EXCHANGE, wait_queue(delay))


class Worker:
    """Does the task "good" at once and "late" at its third try; everything else fails for ever."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.tries: list[str] = []
        self.done: list[str] = []
        self.failed = 0
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(WORK, self._on_task)

    def _on_task(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        task = body.decode()
        self.tries.append(task)
        tries = retries(properties)
        if task == "good" or (task == "late" and tries == 2):
            self.done.append(task)
        else:
            key = wait_queue(DELAYS[tries]) if tries < len(DELAYS) else FAILED
            self.failed += key == FAILED
            channel.basic_publish(EXCHANGE, key, body, properties)
        channel.basic_ack(method.delivery_tag)


def retries(properties: pika.BasicProperties) -> int:
    """How often the task has waited already."""
    return sum(row["count"] for row in (properties.headers or {}).get("x-death", []))


def run(broker: Broker) -> Json:
    queues = [WORK, FAILED, *map(wait_queue, DELAYS)]
    with scratch(broker.url, queues=queues, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        declare(channel)
        worker = Worker(connection)
        for task in ("bad", "good", "late"):
            properties = pika.BasicProperties(delivery_mode=2, message_id=task)
            channel.basic_publish(EXCHANGE, WORK, task.encode(), properties)
        serve([connection], lambda: len(worker.done) == 2 and worker.failed == 1)
        _method, properties, body = get_soon(channel, FAILED)
        return {
            "done": worker.done,
            "tries": {task: worker.tries.count(task) for task in ("bad", "good", "late")},
            "failed": [body, properties.message_id, properties.delivery_mode, *death_counts(properties)],
            "left": [ready_count(channel, queue) for queue in queues],
        }


EXPECTED: Json = {
    "done": ["good", "late"],
    "tries": {"bad": 4, "good": 1, "late": 3},
    "failed": [
        "bad",
        "bad",
        2,
        "interop.backoff_wait_200 expired 1",
        "interop.backoff_wait_100 expired 1",
        "interop.backoff_wait_50 expired 1",
    ],
    "left": [0, 0, 0, 0, 0],
}

if __name__ == "__main__":
    main(run, EXPECTED)
