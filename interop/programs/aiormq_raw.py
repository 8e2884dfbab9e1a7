"""aiormq used directly: confirms, get, consume, nack, qos, transactions and its exceptions."""

import asyncio
from collections.abc import Awaitable, Callable

import aiormq
import aiormq.exceptions
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from interop.blocking import WAIT_SECONDS, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE, EXCHANGE = "interop.aiormq", "interop.aiormq_x"
PERSISTENT = aiormq.spec.Basic.Properties(delivery_mode=2, headers={"n": 1})


async def publish_and_get(connection: AbstractConnection) -> Json:
    channel = await connection.channel(publisher_confirms=True)
    declared = await channel.queue_declare(QUEUE, durable=True)
    await channel.exchange_declare(EXCHANGE, exchange_type="topic")
    await channel.queue_bind(QUEUE, EXCHANGE, "a.#")
    answer = await channel.basic_publish(b"one", exchange=EXCHANGE, routing_key="a.b", properties=PERSISTENT)
    returned = await returned_publish(channel)
    got = await channel.basic_get(QUEUE)
    assert got.delivery_tag is not None
    await channel.basic_nack(got.delivery_tag, requeue=True)
    again = await channel.basic_get(QUEUE, no_ack=True)
    empty = await channel.basic_get(QUEUE)
    await channel.close()
    return {
        "declared": [declared.queue, declared.message_count, declared.consumer_count],
        "confirmed": type(answer).__name__,
        "returned": returned,
        "got": [got.body.decode(), got.redelivered, got.header.properties.headers == {"n": 1}],
        "again": [again.body.decode(), again.redelivered],
        "empty": type(empty.delivery).__name__,
    }


async def returned_publish(channel: AbstractChannel) -> Json:
    """A mandatory message with no queue for it: aiormq raises with the return frame."""
    try:
        await channel.basic_publish(b"two", exchange=EXCHANGE, routing_key="b", mandatory=True)
    except aiormq.exceptions.PublishError as error:
        frame = error.frame
        if not isinstance(frame, aiormq.spec.Basic.Return):
            raise
        return [frame.reply_code, frame.reply_text, frame.exchange, frame.routing_key]
    return "no error"


async def consume(connection: AbstractConnection) -> Json:
    channel = await connection.channel()
    received: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    await channel.basic_qos(prefetch_count=2)
    started = await channel.basic_consume(QUEUE, received.put, consumer_tag="interop-tag")
    for body in (b"1", b"2", b"3"):
        await channel.basic_publish(body, routing_key=QUEUE)
    first, second = await received.get(), await received.get()
    assert first.delivery_tag is not None
    left = await channel.queue_declare(QUEUE, passive=True)
    await channel.basic_reject(first.delivery_tag, requeue=False)
    third = await received.get()
    assert third.delivery_tag is not None
    await channel.basic_ack(third.delivery_tag, multiple=True)
    cancelled = await channel.basic_cancel("interop-tag")
    at_the_end = await channel.queue_declare(QUEUE, passive=True)
    await channel.close()
    return {
        "tags": [started.consumer_tag, cancelled.consumer_tag],
        "bodies": [message.body.decode() for message in (first, second, third)],
        "held back": [left.message_count, left.consumer_count],
        "at the end": [at_the_end.message_count, at_the_end.consumer_count],
    }


async def transaction(connection: AbstractConnection) -> Json:
    channel = await connection.channel(publisher_confirms=False)
    await channel.tx_select()
    await channel.basic_publish(b"dropped", routing_key=QUEUE)
    await channel.tx_rollback()
    await channel.basic_publish(b"kept", routing_key=QUEUE)
    await channel.tx_commit()
    bodies: list[Json] = [(await channel.basic_get(QUEUE, no_ack=True)).body.decode() for _ in range(2)]
    await channel.close()
    return bodies


async def errors(connection: AbstractConnection) -> Json:
    async def declare_otherwise(channel: AbstractChannel) -> None:
        await channel.queue_declare(QUEUE, durable=False)

    async def passive_declare(channel: AbstractChannel) -> None:
        await channel.queue_declare("interop.no_such", passive=True)

    async def reserved_name(channel: AbstractChannel) -> None:
        await channel.queue_declare("amq.mine")

    async def error_of(act: Callable[[AbstractChannel], Awaitable[None]]) -> Json:
        try:
            await act(await connection.channel())
        except aiormq.exceptions.ChannelClosed as error:
            return [type(error).__name__, *map(str, error.args)]
        return "accepted"

    seen = {act.__name__: await error_of(act) for act in (declare_otherwise, passive_declare, reserved_name)}
    return seen | {"connection open": not connection.is_closed}


async def client(url: str) -> Json:
    async with asyncio.timeout(WAIT_SECONDS):
        connection = await aiormq.connect(url)
        seen: dict[str, Json] = {}
        for story in (publish_and_get, consume, transaction, errors):
            seen[story.__name__] = await story(connection)
        await connection.close()
        return seen


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE], exchanges=[EXCHANGE]):
        return asyncio.run(client(broker.url))


INEQUIVALENT = (
    f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{QUEUE}' in vhost '/': "
    "received 'false' but current is 'true'"
)
EXPECTED: Json = {
    "publish_and_get": {
        "declared": [QUEUE, 0, 0],
        "confirmed": "Ack",
        "returned": [312, "NO_ROUTE", EXCHANGE, "b"],
        "got": ["one", False, True],
        "again": ["one", True],
        "empty": "GetEmpty",
    },
    "consume": {
        "tags": ["interop-tag", "interop-tag"],
        "bodies": ["1", "2", "3"],
        "held back": [1, 1],
        "at the end": [0, 0],
    },
    "transaction": ["kept", ""],
    "errors": {
        "declare_otherwise": [
            "ChannelPreconditionFailed",
            INEQUIVALENT,
        ],
        "passive_declare": ["ChannelNotFoundEntity", "NOT_FOUND - no queue 'interop.no_such' in vhost '/'"],
        "reserved_name": [
            "ChannelAccessRefused",
            "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
        ],
        "connection open": True,
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
