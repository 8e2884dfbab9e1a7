"""What the rows about streams share.

A message that is published once the one before it is confirmed is a chunk of its own, in RabbitMQ, too.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .client import Channel, Message

STREAM = {"x-queue-type": "stream"}
OFFSET = "x-stream-offset"
FIRST = {OFFSET: "first"}
NO_ARGUMENTS: Mapping[str, object] = MappingProxyType({})
ENOUGH = 100  # a prefetch count that nothing here comes near


def declared(channel: Channel, name: str, **arguments: Any) -> str:
    """The stream's name."""
    channel.call("queue.declare", queue=name, durable=True, arguments={**STREAM, **arguments})
    return name


def numbers(first: int, end: int) -> list[bytes]:
    """Bodies: their numbers."""
    return [b"%d" % body for body in range(first, end)]


def publish(publisher: Channel, queue: str, *bodies: bytes, exchange: str = "", **properties: Any) -> None:
    """Each one when the one before it is confirmed."""
    for body in bodies:
        publisher.publish(exchange, queue, body, properties)
        publisher.expect("basic.ack")


def consume(
    channel: Channel,
    queue: str,
    where: object = "first",
    prefetch: int = ENOUGH,
    tag: str = "t",
    arguments: Mapping[str, object] = NO_ARGUMENTS,
) -> None:
    """``where`` is the consumer's x-stream-offset."""
    channel.call("basic.qos", prefetch_count=prefetch)
    channel.call("basic.consume", queue=queue, consumer_tag=tag, arguments={OFFSET: where, **arguments})


def offset(message: Message) -> int:
    return int(message.headers[OFFSET])
