"""connect_robust: a consumer that goes on after its connection broke, without a line of its own code for it.

A message acked before the break must not come back; one delivered but not acked must, flagged redelivered.
"""

import asyncio

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from interop.blocking import scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.robust"
NAME = "interop reconnect_aio_pika"
WAIT_SECONDS = 60


async def client(broker: Broker) -> Json:
    properties: dict[str, aio_pika.abc.FieldValue] = {"connection_name": NAME}
    connection = await aio_pika.connect_robust(broker.url, client_properties=properties, reconnect_interval=0.2)
    async with connection, asyncio.timeout(WAIT_SECONDS):
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(prefetch_count=2)
        queue = await channel.declare_queue(QUEUE, durable=True)
        for number in (1, 2, 3):
            await channel.default_exchange.publish(persistent(number), QUEUE)
        deliveries: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await queue.consume(deliveries.put)
        first, second = await deliveries.get(), await deliveries.get()
        await first.ack()
        third = await deliveries.get()
        before = [number_of(first), number_of(second), number_of(third)]
        await broken_and_back(broker, connection)
        await publish_again(channel, 4)
        after: list[AbstractIncomingMessage] = []
        while len(after) < 3:
            message = await deliveries.get()
            await message.ack()
            after.append(message)
        left = (await channel.declare_queue(QUEUE, durable=True)).declaration_result
        return {
            "before": before,
            "after": [number_of(message) for message in after],
            "redelivered": [bool(message.redelivered) for message in after[:2]],
            "left": [left.message_count, left.consumer_count],
        }


def persistent(number: int) -> aio_pika.Message:
    return aio_pika.Message(str(number).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)


def number_of(message: AbstractIncomingMessage) -> int:
    return int(message.body)


async def broken_and_back(broker: Broker, connection: AbstractRobustConnection) -> None:
    broken, back = asyncio.Event(), asyncio.Event()
    connection.close_callbacks.add(lambda *_: broken.set())
    connection.reconnect_callbacks.add(lambda *_: back.set())
    await asyncio.to_thread(broker.interrupt, NAME)
    await broken.wait()
    await back.wait()


async def publish_again(channel: aio_pika.abc.AbstractChannel, number: int) -> None:
    """Publish with retries: right after the reconnect the channel may still be opening."""
    while True:
        try:
            await channel.default_exchange.publish(persistent(number), QUEUE)
        except aio_pika.exceptions.CONNECTION_EXCEPTIONS:
            await asyncio.sleep(0.05)
        else:
            return


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]):
        return asyncio.run(client(broker))


EXPECTED: Json = {"before": [1, 2, 3], "after": [2, 3, 4], "redelivered": [True, True], "left": [0, 1]}

if __name__ == "__main__":
    main(run, EXPECTED)
