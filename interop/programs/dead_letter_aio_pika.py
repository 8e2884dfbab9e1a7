"""Dead lettering with aio-pika: message.process() that rejects, a consumer of the dead letters, a second chance."""

import asyncio
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from interop.blocking import WAIT_SECONDS, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

DLX, TASKS, DEAD = "interop.aio_dlx", "interop.aio_tasks", "interop.aio_dead"
LIMITED = "interop.aio_limited"


class TaskError(Exception):
    """What a task of the program raises; process() rejects the message and raises it again."""


def reasons(message: AbstractIncomingMessage) -> Json:
    headers: Any = message.headers
    return [[row["queue"], row["reason"], row["count"]] for row in headers["x-death"]]


async def process(connection: AbstractConnection) -> Json:
    """process() acks what went well, rejects what raised, and with requeue=True gives one more try."""
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=1)
    exchange = await channel.declare_exchange(DLX, aio_pika.ExchangeType.FANOUT)
    dead = await channel.declare_queue(DEAD)
    await dead.bind(exchange)
    tasks = await channel.declare_queue(TASKS, arguments={"x-dead-letter-exchange": DLX})
    tried: asyncio.Queue[str] = asyncio.Queue()

    async def work(message: AbstractIncomingMessage) -> None:
        body = message.body.decode()
        again = body == "twice" and not message.redelivered
        try:
            async with message.process(requeue=again):
                tried.put_nowait(body + (" again" if message.redelivered else ""))
                if body != "good":
                    raise TaskError(body)
        except TaskError:
            return

    await tasks.consume(work)
    for body in ("good", "bad", "twice"):
        await channel.default_exchange.publish(aio_pika.Message(body.encode(), message_id=body), TASKS)
    letters: list[Json] = []
    async with dead.iterator() as iterator:
        async for letter in iterator:
            await letter.ack()
            first = str(letter.headers["x-first-death-queue"])
            letters.append([letter.body.decode(), letter.message_id, first, reasons(letter)])
            if len(letters) == 2:
                break
    return {"tried": [tried.get_nowait() for _ in range(tried.qsize())], "dead": letters}


async def overflow_and_ttl(connection: AbstractConnection) -> Json:
    """One is pushed out by the next, which expires: both become dead letters, for reasons of their own."""
    channel = await connection.channel()
    dead = await channel.declare_queue(DEAD, passive=True)
    await channel.declare_queue(LIMITED, arguments={"x-dead-letter-exchange": DLX, "x-max-length": 1})
    for body in (b"1", b"2"):
        await channel.default_exchange.publish(aio_pika.Message(body, expiration=0.2), LIMITED)
    letters: list[Json] = []
    while len(letters) < 2:
        letter = await dead.get(no_ack=True, fail=False)
        if letter is not None:
            headers: Any = letter.headers
            original = str(headers["x-death"][0]["original-expiration"])
            letters.append([letter.body.decode(), letter.expiration is None, original, reasons(letter)])
        else:
            await asyncio.sleep(0.02)
    return letters


async def client(url: str) -> Json:
    async with asyncio.timeout(WAIT_SECONDS):
        connection = await aio_pika.connect(url)
        async with connection:
            return {"process": await process(connection), "overflow and TTL": await overflow_and_ttl(connection)}


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[TASKS, DEAD, LIMITED], exchanges=[DLX]):
        return asyncio.run(client(broker.url))


EXPECTED: Json = {
    "process": {
        "tried": ["good", "bad", "twice", "twice again"],
        "dead": [
            ["bad", "bad", "interop.aio_tasks", [["interop.aio_tasks", "rejected", 1]]],
            ["twice", "twice", "interop.aio_tasks", [["interop.aio_tasks", "rejected", 1]]],
        ],
    },
    "overflow and TTL": [
        ["1", True, "200", [["interop.aio_limited", "maxlen", 1]]],
        ["2", True, "200", [["interop.aio_limited", "expired", 1]]],
    ],
}

if __name__ == "__main__":
    main(run, EXPECTED)
