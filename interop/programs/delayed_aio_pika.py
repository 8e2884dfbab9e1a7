"""Delays with aio-pika: small ones, which it sends as signed octets, and points in time in every form."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractChannel, AbstractExchange

from interop.blocking import scratch
from interop.broker import Broker
from interop.command import main
from interop.delaying import KIND, TOLERANCE_SECONDS, unknown_type
from interop.lateness import punctual, within
from interop.transcript import Json

EXCHANGE, QUEUE = "interop.delayed_aio_x", "interop.delayed_aio"
WAIT_SECONDS = 60
APART = 0.1  # seconds between two of them


async def declared(channel: AbstractChannel) -> tuple[AbstractExchange, Any]:
    try:
        exchange = await channel.declare_exchange(EXCHANGE, KIND, durable=True, arguments={"x-delayed-type": "topic"})
    except (aiormq.exceptions.ConnectionClosed, aiormq.exceptions.ChannelClosed) as error:
        raise unknown_type(str(error)) from error
    queue = await channel.declare_queue(QUEUE)
    await queue.bind(exchange, "#")
    return exchange, queue


def forms(now: datetime) -> dict[str, tuple[dict[str, Any], float]]:
    """Headers, and how many seconds after ``now`` a message with them is due."""
    second = timedelta(seconds=1)
    later = {count: now + count * second for count in range(1, 4)}
    zone = timezone(timedelta(hours=-9, minutes=-30))
    return {
        "octet": ({"x-delay": 100}, 0.1),
        "string": ({"x-delay": "200"}, 0.2),
        "float": ({"x-delay": 300.9}, 0.3),
        "iso with zone": ({"x-deliver-at": (now + 0.4 * second).astimezone(zone).isoformat()}, 0.4),
        "iso in utc": ({"x-deliver-at": (now + 0.5 * second).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}, 0.5),
        "milliseconds": ({"x-deliver-at": round((now.timestamp() + 0.6) * 1000)}, 0.6),
        "digits": ({"x-deliver-at": str(round((now.timestamp() + 0.7) * 1000))}, 0.7),
        # A timestamp is in whole seconds.
        "timestamp": ({"x-deliver-at": later[2]}, later[2].replace(microsecond=0).timestamp() - now.timestamp()),
        "has passed": ({"x-deliver-at": now - second}, 0),
    }


async def seen(url: str) -> Json:
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        exchange, queue = await declared(channel)
        now = datetime.now(UTC)
        began = time.monotonic()
        expected = forms(now)
        persistent = aio_pika.DeliveryMode.PERSISTENT
        messages = [
            aio_pika.Message(name.encode(), headers=headers, delivery_mode=persistent)
            for name, (headers, _) in reversed(expected.items())
        ]
        with within(APART):  # a delay begins when it is published, a point in time is as far from ``now``
            await asyncio.gather(*(exchange.publish(message, "any.key") for message in messages))
        order, early, headers_seen = [], [], {}
        async with asyncio.timeout(WAIT_SECONDS), queue.iterator(no_ack=True) as arrivals:
            async for message in arrivals:
                name = message.body.decode()
                if time.monotonic() - began < expected[name][1] - TOLERANCE_SECONDS:
                    early.append(name)
                order.append(name)
                headers_seen[name] = {key: plain(value) for key, value in message.headers.items()}
                if len(order) == len(expected):
                    break
        return {"order": order, "early": early, "headers": headers_seen, "refused": await refused(connection)}


def plain(value: Any) -> Json:
    return value if isinstance(value, int) else type(value).__name__


async def refused(connection: Any) -> Json:
    """Times that are none: not the zone of the broker, and nothing in more than ten years."""
    texts: dict[str, Json] = {}
    for name, value in {"no zone": "2999-01-01T00:00:00", "no time": "soon", "far": "2999-01-01T00:00:00Z"}.items():
        channel = await connection.channel(publisher_confirms=True)
        exchange = await channel.get_exchange(EXCHANGE, ensure=False)
        try:
            await exchange.publish(aio_pika.Message(b"", headers={"x-deliver-at": value}), "any.key")
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            texts[name] = str(error)
        else:
            texts[name] = "accepted"
    return texts


def run(broker: Broker) -> Json:
    return punctual(lambda: _seen(broker))


def _seen(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE], exchanges=[EXCHANGE]):
        return asyncio.run(seen(broker.url))


NO_TIME = (
    "PRECONDITION_FAILED - invalid header 'x-deliver-at': it must be a timestamp, milliseconds since 1970, "
    "or a date and time in ISO 8601 with its zone"
)
EXPECTED: Json = {
    "order": [
        "has passed",
        "octet",
        "string",
        "float",
        "iso with zone",
        "iso in utc",
        "milliseconds",
        "digits",
        "timestamp",
    ],
    "early": [],
    "headers": {
        "has passed": {"x-deliver-at": "datetime"},  # it was never delayed
        "octet": {"x-delay": -100},
        "string": {"x-delay": -200},
        "float": {"x-delay": -300},
        "iso with zone": {},
        "iso in utc": {},
        "milliseconds": {},
        "digits": {},
        "timestamp": {},
    },
    "refused": {
        "no zone": NO_TIME,
        "no time": NO_TIME,
        "far": "PRECONDITION_FAILED - invalid header 'x-deliver-at': it is more than ten years away",
    },
}

if __name__ == "__main__":
    main(run, EXPECTED)
