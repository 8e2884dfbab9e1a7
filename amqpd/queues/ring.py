"""Whose turn it is: round robin over the consumers that can take a message. Hot.

A consumer that cannot take one leaves the ring and is put back by ``resume`` when its credit returns, so that a
thousand stuck consumers cost a delivery nothing.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from amqpd.broker.queue import Consumer


@final
class ConsumerRing:
    """``all``: every consumer in the order of subscription, waiting ones too. ``ring``: those not waiting.

    ``at``: index in the ring of the one whose turn it is.
    """

    def __init__(self) -> None:
        self.all: list[Consumer] = []
        self.ring: list[Consumer] = []
        self.at: i64 = 0

    def add(self, consumer: Consumer) -> None:
        self.all.append(consumer)
        self._enter(consumer)

    def remove(self, consumer: Consumer) -> None:
        self.all.remove(consumer)
        if not consumer.waiting:
            self._leave(self.ring.index(consumer))

    def next(self) -> Consumer | None:
        """The next consumer that can take a message; None when nobody can."""
        ring = self.ring
        while ring:
            at = self.at
            consumer = ring[at]
            if consumer.channel.can_take(consumer):
                at += 1
                self.at = at if at < len(ring) else 0
                return consumer
            consumer.waiting = True
            self._leave(at)
        return None

    def resume(self, consumer: Consumer) -> None:
        if consumer.waiting and not consumer.cancelled:
            consumer.waiting = False
            self._enter(consumer)

    def _enter(self, consumer: Consumer) -> None:
        """At the end of the round: just before the one whose turn it is."""
        at = self.at
        self.ring.insert(at, consumer)
        if len(self.ring) > 1:
            self.at = at + 1 if at + 1 < len(self.ring) else 0

    def _leave(self, index: i64) -> None:
        self.ring.pop(index)
        if index < self.at:
            self.at -= 1
        if self.at >= len(self.ring):
            self.at = 0
