"""A stream over a restart of the broker: what is there stays, offsets go on, and a reader goes on where it was.

A client that consumes again by itself, as aio-pika's robust connection does, says the offset it said before.
"""

import asyncio

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.streaming import FIRST, OFFSET, Reader, declare_stream
from interop.transcript import Json
from interop.watching import confirmed

NAME = "interop.stream_restart"
COUNT = 100
DEALT_WITH = 60
WAIT_SECONDS = 120


def publish(url: str, *bodies: str) -> None:
    """Transient messages: a stream keeps them all the same."""
    with connect(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        confirmed(channel, NAME, *bodies, delivery_mode=1)


def deal_with(url: str, start: str | int, last: int) -> Json:
    """[first body, last body, offset to go on with] of a reader that ends with body ``last``."""
    with connect(url) as connection:
        reader = Reader(connection, NAME, {OFFSET: start}, prefetch=5)
        while str(last) not in reader.bodies:
            reader.wait_for(len(reader.bodies) + 1)
            reader.ack_all()
        reader.lose()
        at = reader.bodies.index(str(last))
        assert reader.bodies[: at + 1] == [str(number) for number in range(int(reader.bodies[0]), last + 1)]
        return [reader.bodies[0], reader.bodies[at], reader.offsets[at] + 1]


async def robust(broker: Broker) -> list[int]:
    """What a robust consumer that began with the first message sees before the restart and after it."""
    numbers: list[int] = []
    enough = asyncio.Event()

    async def on_message(message: AbstractIncomingMessage) -> None:
        numbers.append(int(message.body))
        await message.ack()
        if numbers[-1] == (COUNT if restarted else COUNT - 1):
            enough.set()

    restarted = False
    connection = await aio_pika.connect_robust(broker.url, reconnect_interval=0.2)
    async with asyncio.timeout(WAIT_SECONDS), connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.get_queue(NAME)
        await queue.consume(on_message, arguments=FIRST)
        await enough.wait()
        enough.clear()
        restarted = True
        await asyncio.to_thread(broker.restart)
        await asyncio.to_thread(publish, broker.url, str(COUNT))
        await enough.wait()
    return numbers


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[NAME]):
        with connect(broker.url) as connection:
            declare_stream(connection.channel(), NAME)
        publish(broker.url, *(str(number) for number in range(COUNT)))
        before = deal_with(broker.url, "first", DEALT_WITH - 1)
        numbers = asyncio.run(robust(broker))
        return {
            "before": before,
            "goes on": deal_with(broker.url, DEALT_WITH, COUNT),
            "last": deal_with(broker.url, "last", COUNT),
            "first": deal_with(broker.url, "first", COUNT),
            "robust, before": numbers[:COUNT] == list(range(COUNT)),
            "robust, after": numbers[COUNT:] == list(range(COUNT + 1)),
        }


EXPECTED: Json = {
    "before": ["0", str(DEALT_WITH - 1), DEALT_WITH],
    "goes on": [str(DEALT_WITH), str(COUNT), COUNT + 1],
    "last": [str(COUNT), str(COUNT), COUNT + 1],
    "first": ["0", str(COUNT), COUNT + 1],
    "robust, before": True,
    "robust, after": True,
}

if __name__ == "__main__":
    main(run, EXPECTED)
