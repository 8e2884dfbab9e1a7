"""Delayed retry: what a consumer gives back waits before it is delivered again (x-delayed-retry-type, -min, -max).

1. The type says what waits: ``failed`` is basic.reject and the end of a channel or connection, ``returned`` is
   basic.nack and basic.recover, ``all`` is both and timeouts; ``disabled``, or none, is nothing.
2. It waits ``min`` milliseconds times its delivery count, and ``max`` at most; ``max`` is ``min`` where it is not set.
   Without ``min`` nothing waits.
3. RabbitMQ 4.3 has this on quorum queues; here every queue type has it.

What waits is held by the queue (amqpd/queues/delayed.py), which says what becomes of it.
"""

from __future__ import annotations

from typing import Final

from amqpd.broker.message import Entry
from amqpd.broker.queue import LOST, NACKED, RECOVERED, REJECTED, TIMED_OUT, Queue
from amqpd.queues.classic import ClassicQueue, Feature

_CAUSES: Final[dict[str, frozenset[int]]] = {
    "failed": frozenset((REJECTED, LOST)),
    "returned": frozenset((NACKED, RECOVERED)),
    "all": frozenset((REJECTED, LOST, NACKED, RECOVERED, TIMED_OUT)),
}


class DelayedRetry(Feature):
    """``causes``: of a return, those that wait. ``shortest`` and ``longest`` are milliseconds."""

    def __init__(self, causes: frozenset[int], shortest: int, longest: int) -> None:
        self.causes = causes
        self.shortest = shortest
        self.longest = longest

    def returned(self, queue: ClassicQueue, entry: Entry, cause: int) -> bool:
        if cause not in self.causes:
            return True
        queue.delay(entry, min(self.shortest * max(entry.deliveries, 1), self.longest))
        return False


def retries(queue: Queue) -> bool:
    """Whether anything that comes back to it waits."""
    return queue.text("delayed-retry-type") in _CAUSES and queue.number("delayed-retry-min") > 0


def attach(queue: Queue) -> None:
    if not isinstance(queue, ClassicQueue) or not retries(queue):
        return
    shortest = queue.number("delayed-retry-min")
    longest = max(queue.number("delayed-retry-max"), shortest)
    queue.attach(DelayedRetry(_CAUSES[queue.text("delayed-retry-type") or ""], shortest, longest))
