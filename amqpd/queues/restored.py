"""Entries made anew of what a page holds. Hot.

Neighbours mostly have the same exchange, key and properties: they share address and header.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from amqpd.broker.batch import EARLY, PAGED, SHARED, StoredEntry
from amqpd.broker.message import Address, Entry, Message
from amqpd.broker.queue import Lane
from amqpd.wire.basic import address
from amqpd.wire.content import ContentHeader, header_from_properties


@final
class Restored:
    """``redelivered_up_to``: entries up to this position may have been delivered before the restart."""

    def __init__(self) -> None:
        self.redelivered_up_to: i64 = 0
        self.last_address: Address = Address("", "", b"\x00\x00")
        self.last_header: ContentHeader | None = None

    def entry(self, stored: StoredEntry, lane: Lane) -> Entry:
        """As it was stored; its sequence says nothing."""
        last = self.last_address
        if stored.routing_key != last.routing_key or stored.exchange != last.exchange:
            last = Address(stored.exchange, stored.routing_key, address(stored.exchange, stored.routing_key))
            self.last_address = last
        header = self.last_header
        size: i64 = len(stored.body)
        if header is None or header.body_size != size or header.payload[12:] != stored.properties:
            header = header_from_properties(stored.properties, int(size))
            self.last_header = header
        message = Message(last, header, stored.body)
        message.id = stored.position
        message.copies = 2 if stored.flags & SHARED else 1
        entry = Entry(message, lane)
        entry.position = stored.position
        entry.batch = 1  # long committed
        entry.paged = (stored.flags & PAGED) != 0
        entry.redelivered = entry.position <= self.redelivered_up_to
        entry.deadline = stored.deadline
        entry.early = (stored.flags & EARLY) != 0
        entry.deliveries = stored.deliveries
        entry.acquired = stored.acquired
        return entry
