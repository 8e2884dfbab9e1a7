"""Every property and every header type that pika and aio-pika can send comes back as it was.

With pika the properties that came back are encoded again, too: they must give the octets of those that were
sent, so that neither the order of headers nor the width of an integer may change on the way.
"""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aio_pika
import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.blocking import connect, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

QUEUE = "interop.properties"
MOMENT = datetime(2026, 11, 21, 3, 2, 51, tzinfo=UTC)

HEADERS: dict[str, Any] = {
    "text": "grüße",
    "empty text": "",
    "octets": b"\x00\xff\xfe",
    "true": True,
    "false": False,
    "zero": 0,
    "negative": -1,
    "octet": 255,
    "short": 65535,
    "long": 2**31 - 1,
    "below long": -(2**31),
    "longlong": 2**63 - 1,
    "below longlong": -(2**63),
    "decimal": Decimal("-12.345"),
    "moment": MOMENT,
    "null": None,
    "empty table": {},
    "table": {"a": {"b": {"c": [1, "two", None, {"three": 3}]}}, "ключ": 1},
    "empty list": [],
    "list": [1, "two", [3, [4]], None, True, Decimal("0.5")],
    "x-own": "x- headers are the user's, too",
    "long text": "x" * 70000,
    "k" * 255: "a key as long as keys may be",
}
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "headers": HEADERS,
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "correlation",
    "reply_to": "reply",
    "expiration": "60000",
    "message_id": "message",
    "timestamp": 2**40,
    "type": "type",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "cluster",
}
CASES: dict[str, dict[str, Any]] = {
    "all": PROPERTIES,
    "none": {},
    "empty texts": {"content_type": "", "message_id": "", "app_id": ""},
    "empty headers": {"headers": {}},
    "transient": {"delivery_mode": 1},
    "priority 0": {"priority": 0},
    "headers only": {"headers": {"a": 1}},
    **{f"only {name}": {name: value} for name, value in PROPERTIES.items()},
}


def encoded(properties: pika.BasicProperties) -> bytes:
    return b"".join(properties.encode())


def by_pika(channel: BlockingChannel) -> Json:
    """Send each case with pika and read it with pika: decoded values and encoded octets."""
    seen: dict[str, Json] = {}
    for name, values in CASES.items():
        sent = pika.BasicProperties(**values)
        channel.basic_publish("", QUEUE, b"x", sent)
        _method, got, _body = channel.basic_get(QUEUE, auto_ack=True)
        seen[name] = [differing_fields(sent, got), encoded(sent) == encoded(got)]
    return seen


def differing_fields(sent: pika.BasicProperties, got: pika.BasicProperties) -> list[Json]:
    return [name for name in PROPERTIES if getattr(sent, name) != getattr(got, name)]


# pamqp encodes bytes only as a bytearray and cuts keys at 128 octets.
AIO_HEADERS: dict[str, Any] = {name: value for name, value in HEADERS.items() if name != "octets" and len(name) < 128}
AIO_HEADERS |= {"float": 1.5, "octets": bytearray(b"\x80\x00"), "small": 1, "large": 2**40}


AIO_FIELDS = [name for name in PROPERTIES if name not in ("headers", "cluster_id")]


async def by_aio_pika(url: str) -> Json:
    """The same headers and more types with aio-pika, which sends integers narrow, and floats."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        message = aio_pika.Message(
            b"x",
            headers=AIO_HEADERS,
            content_type="text/plain",
            priority=1,
            timestamp=MOMENT,
            expiration=60,
            type="type",
            app_id="app",
            message_id="message",
            correlation_id="correlation",
            reply_to="reply",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await channel.default_exchange.publish(message, QUEUE)
        queue = await channel.get_queue(QUEUE)
        got = await queue.get(no_ack=True)
        return {
            "headers that differ": [name for name, value in AIO_HEADERS.items() if got.headers.get(name) != value],
            "fields that differ": [name for name in AIO_FIELDS if getattr(message, name) != getattr(got, name)],
        }


def run(broker: Broker) -> Json:
    with scratch(broker.url, queues=[QUEUE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        return {"pika": by_pika(channel), "aio-pika": asyncio.run(by_aio_pika(broker.url))}


EXPECTED: Json = {
    "pika": {name: [[], True] for name in CASES},
    "aio-pika": {"headers that differ": [], "fields that differ": []},
}

if __name__ == "__main__":
    main(run, EXPECTED)
