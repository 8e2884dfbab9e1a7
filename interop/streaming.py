"""What the programs about streams share."""

from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.transcript import Json
from interop.watching import Arguments, Inbox, lose, serve

STREAM: dict[str, Any] = {"x-queue-type": "stream"}
OFFSET = "x-stream-offset"
FIRST: dict[str, Any] = {OFFSET: "first"}
ENOUGH = 1000  # a prefetch that no reader here comes to the end of without an ack


class Reader(Inbox):
    """A consumer of a stream: ``Inbox`` with a prefetch and the offset where it begins."""

    def __init__(
        self, connection: pika.BlockingConnection, stream: str, arguments: Arguments, *, prefetch: int = ENOUGH
    ) -> None:
        super().__init__(connection, stream, prefetch=prefetch, arguments=arguments)

    @property
    def offsets(self) -> list[Any]:
        """What the header x-stream-offset of each delivery said."""
        return [(each.headers or {}).get(OFFSET) for each in self.properties]

    def ack_all(self) -> None:
        """Make room again for as many as have come."""
        self.channel.basic_ack(0, multiple=True)

    def until(self, last: str) -> list[str]:
        """Serve the connection until this body has come, and return all that came."""
        serve([self.connection], lambda: last in self.bodies)
        return self.bodies

    def lose(self) -> None:
        """End the connection without a word of AMQP: pika's close gives back what it has not handed out, which
        RabbitMQ before 3.13 does not take.
        """
        lose(self.connection)


def declare_stream(channel: BlockingChannel, name: str, **arguments: Any) -> None:
    """Declare it; ``arguments`` are those beside the type, with _ for -."""
    more = {word.replace("_", "-"): value for word, value in arguments.items()}
    channel.queue_declare(name, durable=True, arguments=STREAM | more)


def read(connection: pika.BlockingConnection, stream: str, last: str, arguments: Arguments = FIRST) -> list[Json]:
    """The bodies that a new consumer gets up to ``last``, which must come."""
    reader = Reader(connection, stream, arguments)
    bodies: list[Json] = [*reader.until(last)]
    reader.channel.close()
    return bodies
