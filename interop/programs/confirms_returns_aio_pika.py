"""Publisher confirms and mandatory returns with aio-pika, many publishes at the same time."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError, PublishError
from aiormq.abc import DeliveredMessage

from interop.blocking import scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.aio_confirms"
COUNT = 200


async def publish_many(connection: AbstractConnection) -> Json:
    """COUNT publishes under way at once, each awaits its own confirm."""
    channel = await connection.channel(publisher_confirms=True)
    queue = await channel.declare_queue(QUEUE, durable=True)
    persistent = aio_pika.DeliveryMode.PERSISTENT
    publishes = [
        channel.default_exchange.publish(aio_pika.Message(str(n).encode(), delivery_mode=persistent), QUEUE)
        for n in range(COUNT)
    ]
    answers = await asyncio.gather(*publishes)
    bodies = []
    for _ in range(COUNT):
        message = await queue.get(no_ack=True)
        bodies.append(int(message.body))
    empty = await queue.get(fail=False)
    return {
        "answers": sorted({type(answer).__name__ for answer in answers}),
        "in order": bodies == list(range(COUNT)),
        "empty afterwards": empty is None,
    }


async def returned_to_caller(connection: AbstractConnection) -> Json:
    """aio-pika hands the returned message back as the result of publish."""
    channel = await connection.channel(publisher_confirms=True)
    message = aio_pika.Message(b"comes back", headers={"n": 1}, message_id="m1")
    answer = await channel.default_exchange.publish(message, "interop.nowhere", mandatory=True)
    assert isinstance(answer, DeliveredMessage), answer
    return [type(answer.delivery).__name__, answer.body.decode(), answer.header.properties.message_id]


async def raised_to_caller(connection: AbstractConnection) -> Json:
    """With on_return_raises the publish raises instead."""
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    try:
        await channel.default_exchange.publish(aio_pika.Message(b"x"), "interop.nowhere", mandatory=True)
    except PublishError as error:
        frame = error.frame
        return [type(error).__name__, type(frame).__name__, isinstance(error, DeliveryError)]
    return "no error"


async def client(url: str) -> Json:
    connection = await aio_pika.connect(url)
    async with connection:
        return {
            "many": await publish_many(connection),
            "returned": await returned_to_caller(connection),
            "raised": await raised_to_caller(connection),
        }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]):
        return asyncio.run(client(broker.url))


EXPECTED: Json = {
    "many": {"answers": ["Ack"], "in order": True, "empty afterwards": True},
    "returned": ["Return", "comes back", "m1"],
    "raised": ["PublishError", "Return", True],
}

if __name__ == "__main__":
    main(run, EXPECTED)
