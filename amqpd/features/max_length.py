"""Length limits: x-max-length and x-max-length-bytes count ready messages, x-overflow says what a full queue does. Hot.

1. ``drop-head`` (the default) drops the oldest, whose death is ``maxlen``; the publisher is acked. That is done after
   what can be delivered was delivered, so a limit of 0 means: to waiting consumers only.
2. ``reject-publish`` drops the new message and the publisher is nacked. ``reject-publish-dlx`` does the same, and
   the new message dies of ``maxlen`` without ever having been in the queue.
3. A queue that does not drop its head may be above its limit: requeued messages come back, and a policy may lower
   the limit.
4. Where dropped messages become dead letters and too many of those wait already, the rest is dropped a moment later.
5. Dead letters that the queue keeps because nobody takes them (amqpd/features/kept_letters.py) count too.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.letters import MAXLEN
from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import NO_NUMBER, Queue
from amqpd.broker.timers import Timer
from amqpd.queues.classic import ClassicQueue, Feature

PUT_OFF_MS: Final = 20  # until a queue whose letters cannot be taken yet tries again


@final
class PutOff(Timer):
    def __init__(self, queue: ClassicQueue) -> None:
        self.queue = queue

    def fire(self, now: int) -> None:
        self.queue.mark_dirty()


@final
class DropHead(Feature):
    """``messages`` and ``size_bytes``: -1 means no limit."""

    def __init__(self, queue: ClassicQueue, messages: i64, size_bytes: i64) -> None:
        self.messages: i64 = messages
        self.size_bytes: i64 = size_bytes
        self.timer: PutOff = PutOff(queue)

    def entered(self, queue: ClassicQueue) -> None:
        if queue.unfinished:
            return
        ready = queue.ready
        messages = self.messages
        size_bytes = self.size_bytes
        while (messages >= 0 and ready.count() > messages) or (size_bytes >= 0 and ready.size() > size_bytes):
            if queue.dead_letters and queue.shard.crowded():
                if not self.timer.deadline:
                    queue.shard.timers.set(self.timer, int(queue.shard.now) + PUT_OFF_MS)
                return
            if not queue.drop_head(MAXLEN):
                return

    def detached(self, queue: ClassicQueue) -> None:
        queue.shard.timers.cancel(self.timer)


@final
class RejectPublish(Feature):
    """``messages`` and ``size_bytes``: -1 means no limit. ``to_dead_letters``: what is refused becomes a letter."""

    def __init__(self, messages: i64, size_bytes: i64, to_dead_letters: bool) -> None:
        self.messages: i64 = messages
        self.size_bytes: i64 = size_bytes
        self.to_dead_letters: bool = to_dead_letters

    def admit(self, queue: ClassicQueue, message: Message) -> bool:
        if self._fits(queue, message.header.body_size):
            return True
        queue.pump()  # what consumers can take now does not fill the queue
        if self._fits(queue, message.header.body_size):
            return True
        if self.to_dead_letters:
            queue.dead(Entry(message, queue.ready.lane_for(message)), MAXLEN)
        return False

    def _fits(self, queue: ClassicQueue, size: i64) -> bool:
        ready = queue.ready
        if self.messages >= 0 and ready.count() + queue.kept + 1 > self.messages:
            return False
        return self.size_bytes < 0 or ready.size() + queue.kept_bytes + size <= self.size_bytes


def attach(queue: Queue) -> None:
    messages = queue.number("max-length")
    size_bytes = queue.number("max-length-bytes")
    if not isinstance(queue, ClassicQueue) or (messages == NO_NUMBER and size_bytes == NO_NUMBER):
        return
    overflow = queue.text("overflow")
    if overflow in ("reject-publish", "reject-publish-dlx"):
        queue.attach(RejectPublish(messages, size_bytes, overflow == "reject-publish-dlx"))
    else:
        queue.attach(DropHead(queue, messages, size_bytes))
