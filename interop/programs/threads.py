"""BlockingConnection with worker threads, which ack by add_callback_threadsafe."""

import functools
import queue
import threading
from typing import Any

from interop.blocking import WAIT_SECONDS, connect, ready_count, scratch, wait_until
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.threads"
TASKS, WORKERS = 200, 4


class Pool:
    """Workers that square numbers; each finished task calls back from its thread."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[Any] = queue.Queue()
        self.results: list[int] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for thread in self._threads:
            thread.start()

    def submit(self, number: int, finished: Any) -> None:
        self._tasks.put((number, finished))

    def close(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(WAIT_SECONDS)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            number, finished = task
            with self._lock:
                self.results.append(number * number)
            finished()


def publish_from_threads(url: str) -> None:
    """Every thread publishes on a connection of its own, with confirms."""

    def publish(first: int) -> None:
        with connect(url) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for number in range(first, TASKS, WORKERS):
                channel.basic_publish("", QUEUE, str(number).encode())

    threads = [threading.Thread(target=publish, args=[first], daemon=True) for first in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE)
        publish_from_threads(broker.url)
        published = ready_count(channel, QUEUE)
        pool, acked = Pool(), []

        def ack(tag: int) -> None:
            channel.basic_ack(tag)
            acked.append(tag)

        def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            ack_later = functools.partial(ack, method.delivery_tag)
            pool.submit(int(body), lambda: connection.add_callback_threadsafe(ack_later))

        channel.basic_qos(prefetch_count=10)
        channel.basic_consume(QUEUE, on_message)
        wait_until(connection, lambda: len(acked) == TASKS)
        pool.close()
        channel.close()
        return {
            "published": published,
            "each done once": sorted(pool.results) == [n * n for n in range(TASKS)],
            "each tag acked once": sorted(acked) == list(range(1, TASKS + 1)),
            "left": ready_count(connection.channel(), QUEUE),
        }


EXPECTED: Json = {"published": TASKS, "each done once": True, "each tag acked once": True, "left": 0}

if __name__ == "__main__":
    main(run, EXPECTED)
