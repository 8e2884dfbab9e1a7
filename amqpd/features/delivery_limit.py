"""Delivery counts and the delivery limit: what a consumer gives back too often leaves its queue (x-delivery-limit).

1. A quorum queue counts, and any other queue with a delivery limit or delayed retry. What was counted stands in the
   headers ``x-delivery-count`` and ``x-acquired-count`` of the next delivery (``amqpd/session/delivery_headers.py``).
2. A delivery counts when it comes back: basic.reject, basic.nack, basic.recover, and the end of its channel or
   connection, as in RabbitMQ 3.10 to 4.2 (3.10.8, seen). RabbitMQ 4.3 spares basic.nack; that would take the limit
   from under clients that rely on it. A timeout does not count in either: the message did no harm.
3. ``x-acquired-count`` counts every time a message was handed out and came back (4.3).
4. One that came back more often than the limit goes to the dead-letter exchange, or away. 20 where a quorum queue
   says nothing (4.0); a negative limit is none.
5. Counts are written with the next batch. After a crash what was in flight is redelivered, but not counted.
"""

from __future__ import annotations

from typing import Final

from amqpd.broker.letters import DELIVERY_LIMIT
from amqpd.broker.message import Entry
from amqpd.broker.queue import TIMED_OUT, Queue
from amqpd.features.delayed_retry import retries
from amqpd.queues.classic import ClassicQueue, Feature
from amqpd.spec.arguments import QUORUM

QUORUM_LIMIT: Final = 20
UNLIMITED: Final = -1
# Counts end here: their column and their attribute hold no more.
COUNT_MAX: Final = (1 << 31) - 1


class DeliveryLimit(Feature):
    """``limit``: how often a message may come back; negative for any number of times."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def returned(self, queue: ClassicQueue, entry: Entry, cause: int) -> bool:
        if entry.acquired < COUNT_MAX:
            entry.acquired += 1
        if cause != TIMED_OUT and entry.deliveries < COUNT_MAX:
            entry.deliveries += 1
        if 0 <= self.limit < entry.deliveries:
            queue.dead(entry, DELIVERY_LIMIT)
            return False
        queue.shard.journal.count(entry)
        return True


def limit_of(queue: Queue) -> int:
    """Its delivery limit; UNLIMITED (or another negative number) for none."""
    limit = queue.settings.get("delivery-limit")
    if isinstance(limit, int):
        return limit
    return QUORUM_LIMIT if queue.kind == QUORUM else UNLIMITED


def attach(queue: Queue) -> None:
    """Before delayed retry, which goes by the counts."""
    limit = limit_of(queue)
    if isinstance(queue, ClassicQueue) and (queue.kind == QUORUM or limit >= 0 or retries(queue)):
        queue.attach(DeliveryLimit(limit))
