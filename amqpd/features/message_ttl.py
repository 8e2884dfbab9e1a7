"""Message TTL: x-message-ttl of the queue and the expiration property of a message; the smaller one holds. Hot.

1. The deadline is set when a message enters and stays with it: a requeue keeps it, a policy does not change it.
2. What is past its deadline is never delivered: it is taken out before messages are delivered.
3. What has reached its deadline after everything was delivered that could be is taken out, so a TTL of 0 reaches
   waiting consumers only.
4. One timer for each queue, at its next deadline or before, keeps the counts true where nobody consumes. A message
   only touches it when it expires before it fires.
5. Expired messages become dead letters. When those wait to be published already, the queue neither expires nor
   delivers for a moment.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.letters import EXPIRED
from amqpd.broker.message import Entry
from amqpd.broker.queue import NO_NUMBER, Queue
from amqpd.broker.timers import Timer
from amqpd.queues.classic import ClassicQueue, Feature

PUT_OFF_MS: Final = 20  # until a queue whose letters cannot be taken yet tries again


@final
class ExpiryTimer(Timer):
    def __init__(self, queue: ClassicQueue) -> None:
        self.queue = queue

    def fire(self, now: int) -> None:
        queue = self.queue
        queue.mark_dirty()
        if queue.held:
            queue.shard.loaded.append(queue)  # a basic.get waits, as for a page


@final
class MessageTtl(Feature):
    """``ttl``: the queue's, in milliseconds; -1 is none.

    ``first_zero``: when the first message with a TTL of 0 entered since the last pump; 0 where none did.
    """

    def __init__(self, queue: ClassicQueue, ttl: i64) -> None:
        self.ttl: i64 = ttl
        self.first_zero: i64 = 0
        self.timer: ExpiryTimer = ExpiryTimer(queue)

    def stamp(self, queue: ClassicQueue, entry: Entry) -> None:
        ttl = self.ttl
        expiration = entry.message.header.expiration
        if expiration is not None:
            own: i64 = int(expiration)
            if ttl < 0 or own < ttl:
                ttl = own
        if ttl >= 0:
            entry.deadline = queue.shard.now + ttl
            if ttl == 0 and not self.first_zero:
                self.first_zero = entry.deadline

    def pumping(self, queue: ClassicQueue) -> None:
        queue.held = False
        now = queue.shard.now
        if self.first_zero:
            # The clock may have moved on since it entered; it has not had its chance yet.
            now = min(now, self.first_zero)
            self.first_zero = 0
        self._expire(queue, now - 1)

    def entered(self, queue: ClassicQueue) -> None:
        if queue.unfinished:
            return
        self._expire(queue, queue.shard.now)
        if not queue.held:
            self._wake(queue, queue.ready.next_deadline())

    def detached(self, queue: ClassicQueue) -> None:
        queue.shard.timers.cancel(self.timer)

    def _expire(self, queue: ClassicQueue, up_to: i64) -> None:
        shard = queue.shard
        deadline = queue.ready.next_deadline()
        if not deadline or deadline > up_to:
            return
        if shard.crowded() or queue.kept >= shard.kept_max:
            queue.held = True
            self._wake(queue, shard.now + PUT_OFF_MS)
            return
        for entry in queue.ready.expire(up_to, True):
            queue.dead(entry, EXPIRED)

    def _wake(self, queue: ClassicQueue, deadline: i64) -> None:
        timer = self.timer
        if deadline and (not timer.deadline or deadline < timer.deadline):
            queue.shard.timers.set(timer, int(deadline))


def attach(queue: Queue) -> None:
    """A queue without message-ttl has the feature from the first message with a deadline on."""
    if not isinstance(queue, ClassicQueue):
        return
    if queue.expiring or queue.number("message-ttl") != NO_NUMBER:
        _start(queue)
    else:
        queue.on_expiration = _start


def _start(queue: ClassicQueue) -> None:
    queue.expiring = True
    queue.attach(MessageTtl(queue, queue.number("message-ttl")))
