"""pika's AsyncioConnection: publishing with confirms and consuming at once on an asyncio loop."""

import asyncio
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from interop.blocking import WAIT_SECONDS, scratch
from interop.broker import Broker
from interop.command import main
from interop.selecting import Confirms
from interop.transcript import Json

QUEUE = "interop.asyncio"
COUNT = 300


async def opened(url: str) -> tuple[AsyncioConnection, asyncio.Future[Any]]:
    """An open connection, and the future of the reason it was closed for."""
    loop = asyncio.get_running_loop()
    is_open, closed = loop.create_future(), loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=is_open.set_result,
        on_open_error_callback=lambda _connection, error: is_open.set_exception(error),
        on_close_callback=lambda _connection, reason: closed.set_result(reason),
        custom_ioloop=loop,
    )
    await is_open
    return connection, closed


async def channel_of(connection: AsyncioConnection) -> Any:
    ready = asyncio.get_running_loop().create_future()
    connection.channel(on_open_callback=ready.set_result)
    return await ready


async def answer_of(method: Any, *arguments: Any, **options: Any) -> Any:
    """Call a channel method and await the broker's answer to it."""
    answer = asyncio.get_running_loop().create_future()
    method(*arguments, **options, callback=answer.set_result)
    return await answer


async def client(url: str) -> Json:
    async with asyncio.timeout(WAIT_SECONDS):
        connection, closed = await opened(url)
        publisher, consumer = await channel_of(connection), await channel_of(connection)
        await answer_of(publisher.queue_declare, QUEUE, durable=True)
        bodies: list[str] = []
        confirms, all_there, all_confirmed = Confirms(), asyncio.Event(), asyncio.Event()

        def on_message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            bodies.append(body.decode())
            if method.delivery_tag % 50 == 0:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if len(bodies) == COUNT:
                all_there.set()

        def on_confirm(frame: Any) -> None:
            confirms.answered(frame.method)
            if len(confirms) == COUNT:
                all_confirmed.set()

        await answer_of(publisher.confirm_delivery, on_confirm)
        await answer_of(consumer.basic_qos, prefetch_count=100)
        tag = consumer.basic_consume(QUEUE, on_message)
        persistent = pika.BasicProperties(delivery_mode=2)
        for number in range(COUNT):
            publisher.basic_publish("", QUEUE, str(number).encode(), persistent)
        await all_there.wait()
        await all_confirmed.wait()
        await answer_of(consumer.basic_cancel, tag)
        left = await answer_of(publisher.queue_declare, QUEUE, durable=True)
        connection.close()
        reason = await closed
        return {
            "in order": bodies == [str(number) for number in range(COUNT)],
            "confirmed": len(confirms.acked),
            "left": [left.method.message_count, left.method.consumer_count],
            "closed": [reason.reply_code, reason.reply_text],
        }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]):
        return asyncio.run(client(broker.url))


EXPECTED: Json = {
    "in order": True,
    "confirmed": COUNT,
    "left": [0, 0],
    "closed": [200, "Normal shutdown"],
}

if __name__ == "__main__":
    main(run, EXPECTED)
