"""A stream with aio-pika: one reader keeps up with a publisher, others replay what was there while it goes on.

The publisher has many publishes under way, so that chunks hold many messages.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from interop.blocking import scratch
from interop.broker import Broker
from interop.command import main
from interop.streaming import FIRST, OFFSET, STREAM
from interop.transcript import Json

NAME = "interop.stream_aio"
COUNT = 2_000
AT_ONCE = 50  # publishes under way
WAIT_SECONDS = 120


class Reader:
    """Notes offset and number of every delivery. ``half``: it has come to the middle; ``all``: to the end."""

    def __init__(self) -> None:
        self.offsets: list[Any] = []
        self.numbers: list[int] = []
        self.half = asyncio.Event()
        self.all = asyncio.Event()

    async def start(self, url: str, stack: AsyncExitStack, arguments: dict[str, Any], prefetch: int) -> None:
        """Returns when it consumes; its connection is closed with the stack."""
        connection = await stack.enter_async_context(await aio_pika.connect(url))
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        queue = await channel.get_queue(NAME)
        await queue.consume(self._on_message, arguments=arguments)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        self.offsets.append(message.headers[OFFSET])
        self.numbers.append(int(message.body))
        await message.ack()
        if self.numbers[-1] >= COUNT // 2:
            self.half.set()
        if self.numbers[-1] == COUNT - 1:
            self.all.set()

    def told(self) -> Json:
        """Where it began, and whether it had everything from there on, in order and with the offsets of the stream."""
        first = self.numbers[0]
        complete = self.numbers == list(range(first, COUNT))
        return {"first": first, "complete": complete, "offset is the number": self.offsets == self.numbers}


async def publish(url: str, follower: Reader) -> None:
    """In order, AT_ONCE at a time; the second half when the follower has come to the middle."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        for begin in range(0, COUNT, AT_ONCE):
            messages = [aio_pika.Message(str(number).encode()) for number in range(begin, begin + AT_ONCE)]
            await asyncio.gather(*(channel.default_exchange.publish(message, NAME) for message in messages))
            if begin == COUNT // 2:
                await follower.half.wait()


async def seen(url: str) -> Json:
    follower, replayer, quarter = readers = Reader(), Reader(), Reader()
    connection = await aio_pika.connect(url)
    async with asyncio.timeout(WAIT_SECONDS), AsyncExitStack() as stack, asyncio.TaskGroup() as tasks, connection:
        await (await connection.channel()).declare_queue(NAME, durable=True, arguments=STREAM)
        await follower.start(url, stack, {OFFSET: "next"}, 20)
        tasks.create_task(publish(url, follower))
        await follower.half.wait()
        await replayer.start(url, stack, FIRST, 7)
        await quarter.start(url, stack, {OFFSET: COUNT // 4}, 300)
        for reader in readers:
            await reader.all.wait()
    return {"follower": follower.told(), "replayer": replayer.told(), "from a quarter on": quarter.told()}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[NAME]):
        return asyncio.run(seen(broker.url))


EXPECTED: Json = {
    "follower": {"first": 0, "complete": True, "offset is the number": True},
    "replayer": {"first": 0, "complete": True, "offset is the number": True},
    "from a quarter on": {"first": COUNT // 4, "complete": True, "offset is the number": True},
}

if __name__ == "__main__":
    main(run, EXPECTED)
