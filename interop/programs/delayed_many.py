"""10,000 messages with random delays while the broker is killed: all come, none early, in the order of their times.

The client does not know when a message is due, only between what: the broker has counted the delay from a moment after
the publish was begun and before it was confirmed. So of two messages the order is asserted where these spans do not
overlap. A message whose confirm did not come before the kill is published again; what had been delivered and whose ack
was not on disk comes again. Flagged redelivered it says nothing about the order of delays.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.delaying import TOLERANCE_SECONDS, declare_delayed
from interop.lateness import Late, punctual
from interop.transcript import Json

EXCHANGE, QUEUE = "interop.delayed_many_x", "interop.delayed_many"
COUNT = 10_000
DELAY_SECONDS = (0.2, 5.0)
AT_ONCE = 500  # publishes under way
KILLED_AFTER = 1_000  # arrivals; many publishes are not confirmed then
WAIT_SECONDS = 240.0
GONE = (aiormq.exceptions.AMQPError, ConnectionError, aio_pika.exceptions.AMQPError)


@dataclass
class Sent:
    """One message: when its first publish began, and when it was confirmed, by the monotonic clock; 0: not yet."""

    delay: int  # ms
    began: float = 0.0
    confirmed: float = 0.0
    publishes: int = 0

    @property
    def earliest(self) -> float:
        return self.began + self.delay / 1000 - TOLERANCE_SECONDS

    @property
    def latest(self) -> float:
        return self.confirmed + self.delay / 1000 + TOLERANCE_SECONDS


@dataclass
class Run:
    """``arrivals``: of one life of the broker after the other, (number, time, redelivered)."""

    sent: list[Sent]
    arrivals: list[list[tuple[int, float, bool]]] = field(default_factory=list)
    arrived: set[int] = field(default_factory=set)
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def unconfirmed(self) -> list[int]:
        return [number for number, sent in enumerate(self.sent) if not sent.confirmed]


async def publish(url: str, run: Run) -> None:
    """Until all are confirmed, on as many connections as it takes."""
    while run.unconfirmed():
        connection = await aio_pika.connect(url)
        try:
            await _publish_open(connection, run)
        except GONE:
            await run.killed.wait()
        finally:
            await _close(connection)


async def _publish_open(connection: AbstractConnection, run: Run) -> None:
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        sent = run.sent[number]
        message = aio_pika.Message(
            str(number).encode(), headers={"x-delay": sent.delay}, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        async with room:
            sent.publishes += 1
            sent.began = sent.began or time.monotonic()
            await exchange.publish(message, QUEUE)
            sent.confirmed = time.monotonic()

    outcomes = await asyncio.gather(*[one(number) for number in run.unconfirmed()], return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def consume(url: str, run: Run) -> None:
    """Until all have come."""
    while len(run.arrived) < COUNT:
        connection = await aio_pika.connect(url)
        life: list[tuple[int, float, bool]] = []
        run.arrivals.append(life)
        try:
            await _consume_open(connection, run, life)
        except GONE:
            await run.killed.wait()
        finally:
            await _close(connection)


async def _consume_open(connection: AbstractConnection, run: Run, life: list[tuple[int, float, bool]]) -> None:
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=200)
    queue = await channel.get_queue(QUEUE, ensure=False)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_message(message: AbstractIncomingMessage) -> None:
        number = int(message.body)
        life.append((number, time.monotonic(), bool(message.redelivered)))
        run.arrived.add(number)
        await message.ack()
        if len(run.arrived) == COUNT and not ended.done():
            ended.set_result(None)

    def on_close(_sender: object, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error or ConnectionError("closed"))

    connection.close_callbacks.add(on_close)
    await queue.consume(on_message)
    await ended


async def _close(connection: AbstractConnection) -> None:
    try:
        await connection.close()
    except GONE:
        return  # it was closed already


async def kill(broker: Broker, run: Run) -> None:
    while len(run.arrived) < KILLED_AFTER:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(broker.crash)
    run.killed.set()


async def happen(broker: Broker) -> Run:
    chance = random.Random(20)
    low, high = (round(seconds * 1000) for seconds in DELAY_SECONDS)
    run = Run([Sent(chance.randint(low, high)) for _ in range(COUNT)])
    async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(consume(broker.url, run))
        tasks.create_task(publish(broker.url, run))
        tasks.create_task(kill(broker, run))
    return run


def out_of_order(life: list[tuple[int, float, bool]], sent: list[Sent]) -> list[int]:
    """Messages that came behind one that was due later for sure."""
    behind, due = [], 0.0
    for number, _, redelivered in life:
        if redelivered or sent[number].publishes > 1:
            continue
        if sent[number].latest < due:
            behind.append(number)
        due = max(due, sent[number].earliest)
    return behind


def seen(run: Run) -> Json:
    first = run.arrivals[0]
    if len(first) >= COUNT // 2:
        raise Late("the kill came when most had arrived")
    early = {number for life in run.arrivals for number, time_, _ in life if time_ < run.sent[number].earliest}
    return {
        "lost": sorted(set(range(COUNT)) - run.arrived),
        "early": sorted(early),
        "out of order": [out_of_order(life, run.sent) for life in run.arrivals],
        "came before and after the kill": KILLED_AFTER <= len(first) < COUNT // 2,
    }


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE], exchanges=[EXCHANGE]):
        with connect(broker.url) as connection:
            channel = connection.channel()
            declare_delayed(channel, EXCHANGE, "direct", durable=True)
            channel.queue_declare(QUEUE, durable=True)
            channel.queue_bind(QUEUE, EXCHANGE, QUEUE)
        return seen(asyncio.run(happen(broker)))


EXPECTED: Json = {
    "lost": [],
    "early": [],
    "out of order": [[], []],
    "came before and after the kill": True,
}

if __name__ == "__main__":
    main(run, EXPECTED)
