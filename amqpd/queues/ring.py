"""Whose turn it is: round robin over the consumers that can take a message. Hot.

A consumer that cannot take one leaves the ring and is put back by ``resume`` when its credit returns, so that a
thousand stuck consumers cost a delivery nothing.
"""

from __future__ import annotations

from collections import deque
from typing import final

from amqpd.broker.queue import Consumer


@final
class ConsumerRing:
    """``all``: every consumer in the order of subscription, waiting ones too."""

    def __init__(self) -> None:
        self.all: list[Consumer] = []
        self.ring: deque[Consumer] = deque()

    def add(self, consumer: Consumer) -> None:
        self.all.append(consumer)
        self.ring.append(consumer)

    def remove(self, consumer: Consumer) -> None:
        self.all.remove(consumer)
        if not consumer.waiting:
            self.ring.remove(consumer)

    def next(self) -> Consumer | None:
        """The next consumer that can take a message, who then goes to the end; None when nobody can."""
        ring = self.ring
        while ring:
            consumer = ring[0]
            if consumer.channel.can_take(consumer):
                if len(ring) > 1:
                    ring.rotate(-1)
                return consumer
            consumer.waiting = True
            ring.popleft()
        return None

    def resume(self, consumer: Consumer) -> None:
        if consumer.waiting and not consumer.cancelled:
            consumer.waiting = False
            self.ring.append(consumer)
