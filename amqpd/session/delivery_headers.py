"""Headers of a message that was delivered before: ``x-delivery-count`` and ``x-acquired-count``, both longs.

They are put in when it is delivered again. What is stored stays as the publisher sent it, so a dead letter does
not carry them (RabbitMQ 3.10.8, seen: interop/conformance/test_queue_types.py).
"""

from __future__ import annotations

from typing import Final

from amqpd.broker.message import Entry
from amqpd.wire.content import with_headers
from amqpd.wire.table import Field

DELIVERY_COUNT: Final = "x-delivery-count"
ACQUIRED_COUNT: Final = "x-acquired-count"


def counted(entry: Entry) -> bytes:
    """The payload of its content header with the counts of ``entry``; without the second one while it is 0."""
    header = entry.message.header
    table = header.table()
    table[DELIVERY_COUNT] = Field("l", int(entry.deliveries))
    if entry.acquired:
        table[ACQUIRED_COUNT] = Field("l", int(entry.acquired))
    return with_headers(header, table).payload
