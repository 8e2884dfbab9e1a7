"""Plain aiormq across a broken connection: calls fail with a connection error, a new connection goes on."""

import asyncio

import aiormq
import aiormq.exceptions
from aiormq.abc import AbstractConnection

from interop.blocking import WAIT_SECONDS, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.aiormq_reconnect"
NAME = "interop reconnect_aiormq"
PERSISTENT = aiormq.spec.Basic.Properties(delivery_mode=2)


async def open_connection(url: str) -> AbstractConnection:
    connection = aiormq.Connection(url, context=None)
    await connection.connect({"connection_name": NAME})
    return connection


async def client(broker: Broker) -> Json:
    connection = await open_connection(broker.url)
    channel = await connection.channel(publisher_confirms=True)
    await channel.queue_declare(QUEUE, durable=True)
    for body in (b"one", b"two"):
        await channel.basic_publish(body, routing_key=QUEUE, properties=PERSISTENT)
    held = await channel.basic_get(QUEUE)
    await asyncio.to_thread(broker.interrupt, NAME)
    failure = await failing_publish(channel)
    second = await open_connection(broker.url)
    channel = await second.channel(publisher_confirms=True)
    again = [await channel.basic_get(QUEUE, no_ack=True) for _ in range(3)]
    await second.close()
    return {
        "held": held.body.decode(),
        "publish on the broken connection": failure,
        "bodies again": [message.body.decode() for message in again],
        "first redelivered": again[0].redelivered,
    }


async def failing_publish(channel: aiormq.abc.AbstractChannel) -> Json:
    """Publish until the client has noticed that its connection is gone."""
    while True:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await channel.basic_publish(b"never", routing_key="interop.nowhere")
        except (aiormq.exceptions.AMQPError, ConnectionError, RuntimeError) as error:
            return isinstance(error, aiormq.exceptions.AMQPError | ConnectionError | RuntimeError)


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]):
        return asyncio.run(client(broker))


EXPECTED: Json = {
    "held": "one",
    "publish on the broken connection": True,
    "bodies again": ["one", "two", ""],
    "first redelivered": True,
}

if __name__ == "__main__":
    main(run, EXPECTED)
