"""The event exchange: what happens in the broker, as messages of the topic exchange ``amq.rabbitmq.event``.

1. The exchange is in vhost ``/``, durable and internal, as in RabbitMQ. Nothing is collected while nothing is bound.
2. A message has no body. Its routing key is the event's name, its headers are the event's fields and
   ``timestamp_in_ms``; it is persistent and has the time in seconds as its timestamp.
3. The headers have RabbitMQ's types (``fields.py``).
"""

from __future__ import annotations

import struct
from typing import Final, final

from amqpd.broker.broker import Broker
from amqpd.broker.events import Event, EventListener
from amqpd.broker.registry import Registry
from amqpd.broker.shard import PageSource
from amqpd.spec.constants import FLAG_DELIVERY_MODE, FLAG_HEADERS, FLAG_TIMESTAMP
from amqpd.wire.content import ContentHeader, header_from_properties
from amqpd.wire.table import encode_table
from amqpd_event_exchange.fields import headers_of

VHOST: Final = "/"
EXCHANGE: Final = "amq.rabbitmq.event"
PERSISTENT: Final = 2


@final
class EventExchange(EventListener):
    """Publishes events while something is bound to the exchange."""

    def __init__(self) -> None:
        self.broker: Broker | None = None

    def started(self, broker: Broker, source: PageSource) -> None:
        self.broker = broker

    def wanted(self) -> bool:
        vhost = self.broker.vhosts.get(VHOST) if self.broker is not None else None
        exchange = vhost.exchanges.get(EXCHANGE) if vhost is not None else None
        return exchange is not None and bool(exchange.bindings)

    def heard(self, broker: Broker, events: list[Event]) -> None:
        vhost = broker.vhosts.get(VHOST)
        exchange = vhost.exchanges.get(EXCHANGE) if vhost is not None else None
        if vhost is None or exchange is None:
            return  # deleted in this very turn
        for event in events:
            broker.publish(vhost, exchange, event.name, header(event), b"")


def header(event: Event) -> ContentHeader:
    """The content header of the event's message."""
    table = encode_table(headers_of(event))
    flags = FLAG_HEADERS | FLAG_DELIVERY_MODE | FLAG_TIMESTAMP
    start = struct.pack(">HI", flags, len(table))
    return header_from_properties(start + table + struct.pack(">BQ", PERSISTENT, event.timestamp // 1000), 0)


def register(registry: Registry) -> None:
    listener = EventExchange()
    registry.system_exchange(VHOST, EXCHANGE, "topic")
    registry.started(listener.started)
    registry.event_listener(listener)
