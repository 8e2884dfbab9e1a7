"""What the programs over kombu share: looking at queues and exchanges, and headers of every type."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Queue

# Whole numbers go as 32 or 64 bits, floats as double, bytes as string; times come back without a zone.
HEADERS: dict[str, Any] = {
    "yes": True,
    "no": False,
    "zero": 0,
    "int8": [-128, 127],
    "int16": [-(2**15), 2**15 - 1],
    "int32": [-(2**31), 2**31 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "double": [1.5, -1e300, 0.1],
    "decimal": [Decimal("12.34"), Decimal("-0.5")],
    "text": "žluťoučký 🐴",
    "empty text": "",
    "bytes": b"\x00\xff",
    "time": dt.datetime(2024, 2, 29, 12, 30, 1),  # noqa: DTZ001
    "null": None,
    "table": {"deep": {"deeper": [1, {"deepest": None}]}},
    "array": [None, True, 1, 2.5, "text", [], {}],
    "empty table": {},
    "empty array": [],
}


def count(queue: Queue, connection: Connection) -> int:
    return int(queue(connection).queue_declare(passive=True).message_count)


def refusal(act: Callable[[], object]) -> tuple[str, int]:
    """The exception that the act ends in, by name and reply code."""
    try:
        act()
    except AMQPError as error:
        return type(error).__name__, error.reply_code
    return "nothing", 0


def gone(entity: Queue | Exchange, connection: Connection) -> bool:
    bound = entity(connection.channel())
    passively = bound.queue_declare if isinstance(entity, Queue) else bound.declare
    return refusal(lambda: passively(passive=True)) == ("NotFound", 404)
