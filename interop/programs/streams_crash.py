"""A stream while the broker is killed: what was confirmed is there, and no offset names another message than before.

A reader follows the publisher, and after the kill goes on behind the last message it has seen. A message whose confirm
did not come is published again, and may be there twice.
"""

import asyncio
from contextlib import suppress

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from interop.blocking import scratch
from interop.broker import Broker, CannotDo
from interop.command import main
from interop.lateness import Late, punctual
from interop.streaming import FIRST, OFFSET, STREAM
from interop.transcript import Json

NAME = "interop.stream_crash"
COUNT = 2_000
AT_ONCE = 200  # publishes under way
KILLED_AFTER = 300  # deliveries
WAIT_SECONDS = 240
LAST = b"last"
GONE = (
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    ConnectionError,
    aio_pika.exceptions.AMQPError,
)

Log = list[tuple[int, bytes]]  # offset and body of each delivery


async def publish(url: str, bodies: list[bytes]) -> list[bytes]:
    """Returns those whose confirm did not come, in their order; ends when the connection does."""
    connection = await aio_pika.connect(url)
    left = dict.fromkeys(bodies)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(body: bytes) -> None:
        async with room:
            with suppress(*GONE):
                await exchange.publish(aio_pika.Message(body), NAME)
                del left[body]

    try:
        exchange = (await connection.channel(publisher_confirms=True)).default_exchange
        await asyncio.gather(*(one(body) for body in bodies))
    finally:
        await close(connection)
    return [*left]


async def follow(url: str, offset: str | int, log: Log, some: asyncio.Event | None = None) -> None:
    """Read into ``log`` up to LAST, or as long as the connection lasts."""
    connection = await aio_pika.connect(url)
    ended = asyncio.Event()

    async def on_message(message: AbstractIncomingMessage) -> None:
        delivered = message.headers[OFFSET]
        assert isinstance(delivered, int)
        log.append((delivered, message.body))
        if some is not None and len(log) >= KILLED_AFTER:
            some.set()
        if message.body == LAST:
            ended.set()
        with suppress(*GONE):
            await message.ack()

    connection.close_callbacks.add(lambda *_: ended.set())
    try:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        queue = await channel.get_queue(NAME)
        await queue.consume(on_message, arguments={OFFSET: offset})
        await ended.wait()
    finally:
        await close(connection)


async def close(connection: AbstractConnection) -> None:
    with suppress(*GONE):
        await connection.close()


async def seen(broker: Broker) -> Json:
    url = broker.url
    connection = await aio_pika.connect(url)
    async with connection:
        await (await connection.channel()).declare_queue(NAME, durable=True, arguments=STREAM)
    bodies = [str(number).encode() for number in range(COUNT)]
    before: Log = []
    some = asyncio.Event()
    async with asyncio.timeout(WAIT_SECONDS):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow(url, "first", before, some))
            publishing = tasks.create_task(publish(url, bodies))
            await some.wait()
            await asyncio.to_thread(broker.crash)
        unconfirmed = publishing.result()
        if not unconfirmed:
            raise Late("all was confirmed before the kill")
        assert not await publish(url, unconfirmed)
        assert not await publish(url, [LAST])
        after: Log = []
        await follow(url, before[-1][0] + 1, after)
        whole: Log = []
        await follow(url, FIRST[OFFSET], whole)
    there = {body for _offset, body in whole}
    return {
        "offsets without a gap": [offset for offset, _body in whole] == list(range(len(whole))),
        "read before and after is the whole": before + after == whole,
        "lost": [body.decode() for body in bodies if body not in there],
    }


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    with scratch(broker.url, queues=[NAME]):
        try:
            return asyncio.run(seen(broker))
        except ExceptionGroup as group:
            if cannot := group.subgroup(CannotDo):
                raise cannot.exceptions[0] from group
            raise


EXPECTED: Json = {"offsets without a gap": True, "read before and after is the whole": True, "lost": []}

if __name__ == "__main__":
    main(run, EXPECTED)
