"""The few lines that the programs with pika's BlockingConnection share."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

WAIT_SECONDS = 60.0  # for what must come, on the slowest machine

Refusal = list[str | int]


def connect(url: str, name: str = "interop", **parameters: Any) -> pika.BlockingConnection:
    """Open a connection with a client-provided name; ``parameters`` are pika's ConnectionParameters."""
    settings = pika.URLParameters(url)
    settings.client_properties = {"connection_name": name}
    for key, value in parameters.items():
        setattr(settings, key, value)
    return pika.BlockingConnection(settings)


@contextmanager
def scratch(url: str, *, queues: Sequence[str] = (), exchanges: Sequence[str] = ()) -> Iterator[None]:
    """Delete these queues and exchanges before the block and after it."""
    _delete(url, queues, exchanges)
    try:
        yield
    finally:
        _delete(url, queues, exchanges)


def _delete(url: str, queues: Sequence[str], exchanges: Sequence[str]) -> None:
    with connect(url) as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_delete(queue)
        for exchange in exchanges:
            channel.exchange_delete(exchange)


def drain(channel: BlockingChannel, queue: str) -> list[str]:
    """Take everything out of a queue with basic.get and return the bodies."""
    bodies: list[str] = []
    while True:
        method, _properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body.decode())


def wait_until(connection: pika.BlockingConnection, done: Callable[[], bool]) -> None:
    """Serve the connection until ``done()``; AssertionError after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, "what the program waits for did not happen"
        connection.process_data_events(0.05)


def ready_count(channel: BlockingChannel, queue: str) -> int:
    """Messages ready in the queue, as a passive declare tells."""
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def queue_exists(connection: pika.BlockingConnection, name: str) -> bool:
    return _found(connection, lambda channel: channel.queue_declare(name, passive=True))


def exchange_exists(connection: pika.BlockingConnection, name: str) -> bool:
    return _found(connection, lambda channel: channel.exchange_declare(name, passive=True))


def _found(connection: pika.BlockingConnection, ask: Callable[[BlockingChannel], Any]) -> bool:
    """Ask on a channel of its own, because the answer no closes the channel."""
    channel = connection.channel()
    try:
        ask(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise
        return False
    channel.close()
    return True


def refusal(call: Callable[[], Any]) -> Refusal:
    """What the broker closed for this call: ["channel" or "connection", code, text], or ["accepted"]."""
    try:
        call()
    except pika.exceptions.ChannelClosedByBroker as error:
        return ["channel", error.reply_code, error.reply_text]
    except pika.exceptions.ConnectionClosedByBroker as error:
        return ["connection", error.reply_code, error.reply_text]
    return ["accepted"]
