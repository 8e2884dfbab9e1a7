"""Length limits: x-max-length and x-max-length-bytes count ready messages, x-overflow says what a full queue does.

``drop-head`` (the default) drops the oldest and the publisher is acked; ``reject-publish`` drops the new one and the
publisher is nacked. A limit is enforced after what can be delivered was delivered, so 0 means: to waiting consumers
only.
"""

from __future__ import annotations

from amqpd.broker.message import Message
from amqpd.broker.queue import Queue
from amqpd.queues.classic import ClassicQueue, Feature
from amqpd.wire.table import Table

NO_LIMIT = -1


class LengthLimit(Feature):
    """``messages`` and ``size_bytes``: -1 means no limit."""

    def __init__(self, messages: int, size_bytes: int) -> None:
        self.messages = messages
        self.size_bytes = size_bytes

    def exceeded(self, queue: ClassicQueue, more_messages: int = 0, more_bytes: int = 0) -> bool:
        """Whether the queue with so much more in it is above a limit."""
        if self.messages != NO_LIMIT and queue.message_count() + more_messages > self.messages:
            return True
        return self.size_bytes != NO_LIMIT and queue.ready_bytes() + more_bytes > self.size_bytes


class DropHead(LengthLimit):
    def entered(self, queue: ClassicQueue) -> None:
        while self.exceeded(queue) and queue.drop_head():
            pass


class RejectPublish(LengthLimit):
    def admit(self, queue: ClassicQueue, message: Message) -> bool:
        queue.pump()  # what consumers can take now does not fill the queue
        return not self.exceeded(queue, 1, int(message.header.body_size))


def attach(queue: Queue) -> None:
    messages = _limit(queue.arguments, "x-max-length")
    size_bytes = _limit(queue.arguments, "x-max-length-bytes")
    if not isinstance(queue, ClassicQueue) or (messages == NO_LIMIT and size_bytes == NO_LIMIT):
        return
    overflow = queue.arguments.get("x-overflow")
    if overflow is not None and overflow.value in (b"reject-publish", b"reject-publish-dlx"):
        queue.attach(RejectPublish(messages, size_bytes))
    else:
        queue.attach(DropHead(messages, size_bytes))


def _limit(arguments: Table, name: str) -> int:
    field = arguments.get(name)
    return field.value if field is not None and isinstance(field.value, int) else NO_LIMIT
