"""Single active consumer: all messages of a queue go to one of its consumers until that one is gone. Hot.

1. The first one that subscribes is active.
2. When it ends, the one with the highest priority takes over, and of those the one that subscribed first.
3. What is in flight to it stays with its channel when it is cancelled, and goes back to the queue when its channel
   ends; the next one does not wait for that (RabbitMQ 3.10.8 with quorum queues, seen; its classic queues deliver
   nothing more after basic.cancel until something else happens, and then crash).
4. On a quorum queue a consumer of a higher priority takes over as soon as the active one has nothing in flight, so
   that the order of the messages holds; until then nobody gets anything (RabbitMQ 4).
"""

from __future__ import annotations

from typing import final

from amqpd.broker.queue import Consumer
from amqpd.queues.ring import ConsumerRing


@final
class SingleActive(ConsumerRing):
    """``holder``: the active one, None while there are no consumers. ``takes_over``: rule 4 holds.

    ``heir``: who takes over once ``holder`` has nothing in flight.
    """

    def __init__(self, takes_over: bool) -> None:
        super().__init__()
        self.takes_over: bool = takes_over
        self.holder: Consumer | None = None
        self.heir: Consumer | None = None

    def active(self) -> Consumer | None:
        return self.holder

    def add(self, consumer: Consumer) -> None:
        self.all.append(consumer)
        self._choose()

    def remove(self, consumer: Consumer) -> None:
        self.all.remove(consumer)
        if consumer is self.holder:
            self.holder = None
        self._choose()

    def next(self) -> Consumer | None:
        holder = self.holder
        heir = self.heir
        if heir is not None and holder is not None and not holder.unacked:
            # One that is not active waits for nothing.
            holder.waiting = False
            self.holder = holder = heir
            self.heir = heir = None
        if holder is None or holder.waiting:
            return None
        if heir is None and holder.channel.can_take(holder):
            return holder
        # Where an heir waits, each message that the holder settles comes here as its credit.
        holder.waiting = True
        return None

    def resume(self, consumer: Consumer) -> None:
        if not consumer.cancelled:
            consumer.waiting = False

    def _choose(self) -> None:
        """Who is active, and who is to be, after the consumers changed."""
        best: Consumer | None = None
        for one in self.all:
            if best is None or one.priority > best.priority:
                best = one
        holder = self.holder
        if self.heir is not None and holder is not None:
            # It waited for the heir only, perhaps; ``next`` finds out.
            holder.waiting = False
        self.heir = None
        if holder is None:
            self.holder = best
        elif self.takes_over and best is not None and best.priority > holder.priority:
            self.heir = best
