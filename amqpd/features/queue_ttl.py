"""Queue TTL (x-expires): a queue nobody uses is deleted. In use: a consumer, a basic.get, a declare.

A durable queue's time begins anew with a restart, and with a change of its settings. Its messages go with it, they are
no dead letters (RabbitMQ 3.10.8, seen).
"""

from __future__ import annotations

from typing import final

from amqpd.broker.queue import NO_NUMBER, Queue
from amqpd.broker.timers import Timer
from amqpd.queues.classic import ClassicQueue, Feature


@final
class UnusedTimer(Timer):
    def __init__(self, feature: QueueTtl, queue: ClassicQueue) -> None:
        self.feature = feature
        self.queue = queue

    def fire(self, now: int) -> None:
        self.feature.check(self.queue)


@final
class QueueTtl(Feature):
    """``ttl`` in milliseconds. A use only notes the time; the timer finds out when it fires.

    ``expired``: the queue is to be deleted at the end of the turn, unless it is used before.
    """

    def __init__(self, queue: ClassicQueue, ttl: int) -> None:
        self.ttl = ttl
        self.last_used = int(queue.shard.now)
        self.expired = False
        self.timer = UnusedTimer(self, queue)
        queue.shard.timers.set(self.timer, self.last_used + ttl)

    def used(self, queue: ClassicQueue) -> None:
        self.last_used = int(queue.shard.now)
        if self.expired:
            self._keep(queue)
        if not self.timer.deadline:
            queue.shard.timers.set(self.timer, self.last_used + self.ttl)

    def check(self, queue: ClassicQueue) -> None:
        """The timer fired. While there are consumers it rests: ``used`` is told when one goes."""
        if queue.consumers():
            return
        if queue.shard.now >= self.last_used + self.ttl:
            self.expired = True
            queue.shard.unwanted.append(queue)
        else:
            queue.shard.timers.set(self.timer, self.last_used + self.ttl)

    def detached(self, queue: ClassicQueue) -> None:
        queue.shard.timers.cancel(self.timer)
        if self.expired:
            self._keep(queue)

    def _keep(self, queue: ClassicQueue) -> None:
        """It may be about to be deleted, or in the middle of that."""
        self.expired = False
        if queue in queue.shard.unwanted:
            queue.shard.unwanted.remove(queue)


def attach(queue: Queue) -> None:
    ttl = queue.number("expires")
    if isinstance(queue, ClassicQueue) and ttl != NO_NUMBER:
        queue.attach(QueueTtl(queue, ttl))
