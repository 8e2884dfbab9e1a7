"""What the programs about queues share: consumers that note what comes, waiting, deaths as plain data."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from interop.blocking import WAIT_SECONDS, ready_count
from interop.transcript import Json

A_WHILE = 0.25  # seconds to watch when nothing may come

Arguments = Mapping[str, Any]


class Inbox:
    """A consumer on a channel of its own that notes every delivery; it settles nothing by itself.

    ``bodies`` are the bodies as they came, with " again" behind a redelivered one; ``methods`` and ``properties`` what
    came with them; ``tags`` the newest delivery tag of each body; ``cancelled`` says whether the broker ended the
    consumer.
    """

    def __init__(
        self,
        connection: pika.BlockingConnection,
        queue: str,
        *,
        prefetch: int = 0,
        auto_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments | None = None,
    ) -> None:
        self.connection = connection
        self.bodies: list[str] = []
        self.methods: list[Any] = []
        self.properties: list[pika.BasicProperties] = []
        self.tags: dict[str, int] = {}
        self.cancelled = False
        self.channel = connection.channel()
        self.channel.basic_qos(prefetch_count=prefetch)
        self.channel.add_on_cancel_callback(self._on_cancel)
        self.tag = self.channel.basic_consume(
            queue, self._on_message, auto_ack=auto_ack, exclusive=exclusive, arguments=dict(arguments or {})
        )

    def _on_cancel(self, _frame: Any) -> None:
        self.cancelled = True

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        text = body.decode()
        self.bodies.append(text + (" again" if method.redelivered else ""))
        self.methods.append(method)
        self.properties.append(properties)
        self.tags[text] = method.delivery_tag

    def wait_for(self, count: int) -> None:
        """Serve the connection until ``count`` messages have come since the start."""
        serve([self.connection], lambda: len(self.bodies) >= count)

    def ack(self, body: str) -> None:
        self.channel.basic_ack(self.tags[body])

    def reject(self, body: str, *, requeue: bool = False) -> None:
        self.channel.basic_reject(self.tags[body], requeue=requeue)


def serve(connections: Sequence[pika.BlockingConnection], done: Callable[[], bool]) -> None:
    """Serve the connections in turn until ``done()``; AssertionError after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, "what the program waits for did not happen"
        for connection in connections:
            connection.process_data_events(0.01)


def watch(connections: Sequence[pika.BlockingConnection], seconds: float = A_WHILE) -> None:
    """Serve the connections for so long, to see what else comes."""
    deadline = time.monotonic() + seconds
    serve(connections, lambda: time.monotonic() >= deadline)


def lose(connection: pika.BlockingConnection) -> None:
    """End the TCP connection without a word of AMQP, as a killed client does."""
    connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    try:
        serve([connection], lambda: False)
    except pika.exceptions.AMQPConnectionError:
        return  # pika has noticed.


def wait_ready(channel: BlockingChannel, queue: str, count: int) -> None:
    """Return when the queue has ``count`` ready messages; dead letters, for one, arrive a moment later."""
    serve([channel.connection], lambda: ready_count(channel, queue) == count)


def wait_a_little(channel: BlockingChannel, queue: str, count: int, seconds: float) -> None:
    """``wait_ready`` for so long at most: what the queue has then the program tells."""
    deadline = time.monotonic() + seconds
    serve([channel.connection], lambda: ready_count(channel, queue) == count or time.monotonic() >= deadline)


def get_soon(channel: BlockingChannel, queue: str) -> tuple[Any, pika.BasicProperties, str]:
    """basic.get without ack until something comes: (method, properties, body)."""
    got: list[Any] = [None, None, None]

    def came() -> bool:
        got[:] = channel.basic_get(queue, auto_ack=True)
        return got[0] is not None

    serve([channel.connection], came)
    return got[0], got[1], got[2].decode()


def confirmed(channel: BlockingChannel, queue: str, *bodies: str, exchange: str = "", **properties: Any) -> list[Json]:
    """Publish on a channel in confirm mode, one by one; what each publisher hears: "ack" or "nack"."""
    heard: list[Json] = []
    for body in bodies:
        try:
            channel.basic_publish(exchange, queue, body.encode(), pika.BasicProperties(**properties))
        except pika.exceptions.NackError:
            heard.append("nack")
        else:
            heard.append("ack")
    return heard


def counts(channel: BlockingChannel, queue: str) -> Json:
    """[ready messages, consumers] by a passive declare."""
    told = channel.queue_declare(queue, passive=True).method
    return [told.message_count, told.consumer_count]


def deaths(properties: pika.BasicProperties) -> list[dict[str, Any]]:
    """The x-death rows, newest first, with "now" for a time within the last minute."""
    rows = []
    for row in (properties.headers or {}).get("x-death", []):
        age = time.time() - row["time"].timestamp()
        rows.append({**row, "time": "now" if -2 < age < 60 else str(row["time"])})
    return rows


def death_counts(properties: pika.BasicProperties) -> list[Json]:
    """Short form of the x-death rows: "queue reason count", newest first."""
    return [f"{row['queue']} {row['reason']} {row['count']}" for row in deaths(properties)]


def precondition(text: str) -> Json:
    """The ``refusal`` of a channel that RabbitMQ closes with 406."""
    return ["channel", 406, f"PRECONDITION_FAILED - {text}"]


def bad_argument(argument: str, queue: str, why: str) -> Json:
    """The ``refusal`` of a queue.declare with an x-argument that may not be."""
    return precondition(f"invalid arg '{argument}' for queue '{queue}' in vhost '/': {why}")
