"""kombu by itself: a simple queue, a consumer with prefetch, requeue, priorities, dead letters, retried publish."""

import time
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.mixins import ConsumerMixin

from interop.blocking import WAIT_SECONDS
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

JOBS = Exchange("interop.kombu", type="direct", durable=True)
DEAD = Queue("interop.kombu.dead", Exchange("interop.kombu.dead", type="fanout"))
QUEUE = Queue(
    "interop.kombu.jobs",
    JOBS,
    routing_key="job",
    max_priority=5,
    message_ttl=60.0,
    max_length=100,
    queue_arguments={"x-dead-letter-exchange": "interop.kombu.dead"},
)


class Worker(ConsumerMixin):
    """Takes messages until ``count`` are done; the first delivery of each odd job is requeued, "bad" is rejected."""

    def __init__(self, connection: Connection, count: int) -> None:
        self.connection = connection
        self.count = count
        self.seen: list[Any] = []

    def get_consumers(self, consumer: type[Consumer], channel: Any) -> list[Consumer]:
        return [consumer([QUEUE], callbacks=[self.on_job], prefetch_count=1)]

    def on_job(self, body: Any, message: Any) -> None:
        self.seen.append([body, message.delivery_info["redelivered"]])
        if body == "bad":
            message.reject()
        elif isinstance(body, int) and body % 2 and not message.delivery_info["redelivered"]:
            message.requeue()
            return
        else:
            message.ack()
        self.count -= 1
        self.should_stop = not self.count


def run(broker: Broker) -> Json:
    seen: dict[str, Any] = {}
    with Connection(broker.url, transport_options={"confirm_publish": True}, heartbeat=10) as connection:
        seen["simple queue"] = _simple(connection)
        DEAD(connection.channel()).declare()
        producer = Producer(connection)
        for job, priority in ((1, 0), (2, 5), ("bad", 3), ({"nested": [None, 1.5]}, 9)):
            producer.publish(
                job, exchange=JOBS, routing_key="job", declare=[QUEUE], retry=True, priority=priority, delivery_mode=2
            )
        worker = Worker(connection, 4)
        worker.run()
        seen["jobs"] = worker.seen
        seen["dead"] = _dead(connection)
        bound = QUEUE(connection.channel())
        seen["declared again"] = list(bound.queue_declare(passive=True))
        seen["deleted"] = bound.delete()
    return seen


def _simple(connection: Connection) -> list[Any]:
    with connection.SimpleQueue("interop.kombu.simple") as queue:
        for body in ("text", {"a": [1, None]}, b"\x00\xff"):
            queue.put(body)
        taken = []
        for _ in range(3):
            message = queue.get(timeout=WAIT_SECONDS)
            taken.append(repr(message.payload))
            message.ack()
        try:
            queue.get(block=False)
        except queue.Empty:
            taken.append("empty")
    return taken


def _dead(connection: Connection) -> list[Any]:
    dead, deadline = DEAD(connection.channel()), time.monotonic() + WAIT_SECONDS
    while (message := dead.get()) is None:
        assert time.monotonic() < deadline, "no dead letter"
    message.ack()
    death = message.headers["x-death"][0]
    return [message.payload, death["reason"], death["queue"], death["count"]]


EXPECTED: Json = {
    "simple queue": ["'text'", "{'a': [1, None]}", "b'\\x00\\xff'", "empty"],
    "jobs": [[2, False], [{"nested": [None, 1.5]}, False], ["bad", False], [1, False], [1, True]],
    "dead": ["bad", "rejected", "interop.kombu.jobs", 1],
    "declared again": ["interop.kombu.jobs", 0, 0],
    "deleted": 0,
}

if __name__ == "__main__":
    main(run, EXPECTED)
